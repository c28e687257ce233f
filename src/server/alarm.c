#include "server/alarm.h"

#include "base/mem.h"
#include "codec/pbwire.h"

struct alarms {
    struct backend *backend;
    struct alarm *items; /* by type, then member id */
    size_t count;
};

/* More than any cluster can raise: two kinds a member. A database with more is damaged. */
#define ALARMS_MAX 65536

const char *alarm_type_name(int32_t type)
{
    static const char *const names[] = {"NONE", "NOSPACE", "CORRUPT"};
    return type >= 0 && (size_t)type < ARRAY_LEN(names) ? names[type] : "UNKNOWN";
}

void alarm_encode(struct alarm alarm, struct buf *out)
{
    uint8_t raw[2 * (1 + PBWIRE_VARINT_MAX)];
    uint8_t *at = raw;
    if (alarm.member_id != 0) {
        at = pbwire_put_uint(at, 1, alarm.member_id);
    }
    if (alarm.type != 0) {
        at = pbwire_put_uint(at, 2, (uint64_t)(int64_t)alarm.type);
    }
    buf_append(out, raw, (size_t)(at - raw));
}

static FALLIBLE alarm_decode(struct slice in, struct alarm *out)
{
    struct pbwire_iter it = pbwire_iter_init(in);
    struct pbwire_field field;
    struct alarm alarm = {0};
    while (pbwire_next(&it, &field)) {
        if (field.number == 1 && field.type == PBWIRE_VARINT) {
            alarm.member_id = field.value;
        } else if (field.number == 2 && field.type == PBWIRE_VARINT) {
            alarm.type = (int32_t)field.value;
        }
    }
    TRY(it.err);
    *out = alarm;
    return ERR_OK;
}

static int order(struct alarm a, struct alarm b)
{
    if (a.type != b.type) {
        return a.type < b.type ? -1 : 1;
    }
    return (a.member_id > b.member_id) - (a.member_id < b.member_id);
}

/* Where it is, or would be. */
static size_t position(const struct alarms *alarms, struct alarm alarm)
{
    size_t at = 0;
    while (at < alarms->count && order(alarms->items[at], alarm) < 0) {
        at++;
    }
    return at;
}

static bool is_at(const struct alarms *alarms, size_t at, struct alarm alarm)
{
    return at < alarms->count && order(alarms->items[at], alarm) == 0;
}

static void insert(struct alarms *alarms, size_t at, struct alarm alarm)
{
    alarms->items = mem_realloc(alarms->items, (alarms->count + 1) * sizeof(struct alarm));
    memmove(alarms->items + at + 1, alarms->items + at,
            (alarms->count - at) * sizeof(struct alarm));
    alarms->items[at] = alarm;
    alarms->count++;
}

struct loading {
    struct alarms *alarms;
    enum err err;
};

static bool load(void *ctx, struct slice key, struct slice value)
{
    struct loading *loading = ctx;
    struct alarm alarm;
    UNUSED(value);
    loading->err = loading->alarms->count < ALARMS_MAX ? alarm_decode(key, &alarm) : ERR_CORRUPT;
    if (loading->err != ERR_OK) {
        return false;
    }
    size_t at = position(loading->alarms, alarm);
    if (!is_at(loading->alarms, at, alarm)) {
        insert(loading->alarms, at, alarm);
    }
    return true;
}

FALLIBLE alarms_open(struct backend *backend, struct alarms **out, struct errbuf *why)
{
    struct alarms *alarms = NEW(struct alarms);
    struct loading loading = {.alarms = alarms};
    alarms->backend = backend;
    backend_scan(backend, BUCKET_ALARM, SLICE_EMPTY, SLICE_EMPTY, load, &loading);
    if (loading.err != ERR_OK) {
        alarms_close(&alarms);
        return errf(why, ERR_CORRUPT, "bucket alarm: a row is no alarm; restore from a snapshot");
    }
    *out = alarms;
    return ERR_OK;
}

void alarms_close(struct alarms **alarms)
{
    if (*alarms != NULL) {
        mem_free((*alarms)->items);
        mem_free(*alarms);
        *alarms = NULL;
    }
}

bool alarms_activate(struct alarms *alarms, struct alarm alarm)
{
    size_t at = position(alarms, alarm);
    if (is_at(alarms, at, alarm) || alarms->count >= ALARMS_MAX) {
        return false;
    }
    struct buf row = {0};
    insert(alarms, at, alarm);
    alarm_encode(alarm, &row);
    backend_put(alarms->backend, BUCKET_ALARM, buf_slice(&row), SLICE_EMPTY);
    buf_fini(&row);
    return true;
}

bool alarms_deactivate(struct alarms *alarms, struct alarm alarm)
{
    size_t at = position(alarms, alarm);
    if (!is_at(alarms, at, alarm)) {
        return false;
    }
    struct buf row = {0};
    alarm_encode(alarm, &row);
    backend_delete(alarms->backend, BUCKET_ALARM, buf_slice(&row));
    buf_fini(&row);
    alarms->count--;
    memmove(alarms->items + at, alarms->items + at + 1,
            (alarms->count - at) * sizeof(struct alarm));
    return true;
}

bool alarms_any(const struct alarms *alarms, enum alarm_type type)
{
    for (size_t i = 0; i < alarms->count; i++) {
        if (alarms->items[i].type == (int32_t)type) {
            return true;
        }
    }
    return false;
}

size_t alarms_count(const struct alarms *alarms)
{
    return alarms->count;
}

struct alarm alarms_at(const struct alarms *alarms, size_t at)
{
    ASSERT(at < alarms->count);
    return alarms->items[at];
}
