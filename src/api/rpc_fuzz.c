/* Hostile requests from the wire to the store and back: each is decoded, checked and applied as the
 * entry of a log, checked or not, for a log may hold what no proposer would let through.
 *
 * Input: messages, one behind the other: a byte for the method, a length (u16, little endian), the
 * bytes. A length beyond the end takes what is there.
 *
 * Properties: what is refused changes nothing (HashKV is the same); what passed the checks is never
 * refused for its form; a reply reads with protobuf-c and is, byte for byte, what the generic
 * encoder makes of it; the store holds together. */
#include "api/check.h"

#include "codec/pb.h"
#include "server/apply.h"
#include "server/work.h"
#include "state/lease.h"
#include "storage/manual_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OPS_MAX 128
#define LEASE 7 /* there is one, so that keys can be attached */
#define MESSAGES_MAX 64

struct world {
    struct disk *disk;
    struct manual_env manual;
    struct backend *backend;
    struct lessor *lessor;
    struct mvcc *mvcc;
    struct alarms *alarms;
    struct apply *apply;
    uint64_t index;
};

static void world_open(struct world *w)
{
    struct errbuf why;
    *w = (struct world){.disk = sim_disk_new()};
    manual_env_init(&w->manual, w->disk);
    struct backend_options backend = {.env = &w->manual.env, .path = "/db"};
    ASSERT(backend_open(&backend, &w->backend, &why) == ERR_OK);
    struct lessor_options leases = {.backend = w->backend, .ttl_min = 2};
    ASSERT(lessor_open(&leases, &w->lessor, &why) == ERR_OK);
    int64_t ttl;
    ASSERT(lessor_grant(w->lessor, LEASE, 60, &ttl) == ERR_OK);
    struct mvcc_options mvcc = {
        .backend = w->backend,
        .compact_batch_limit = 5,
        .hooks = {.ctx = w->lessor, .attach = lessor_attach},
    };
    ASSERT(mvcc_open(&mvcc, &w->mvcc, &why) == ERR_OK);
    ASSERT(alarms_open(w->backend, &w->alarms, &why) == ERR_OK);
    struct apply_options options = {
        .mvcc = w->mvcc,
        .backend = w->backend,
        .alarms = w->alarms,
        .cluster_id = 1,
        .member_id = 2,
        .quota = INT64_MAX,
        .lessor = w->lessor,
    };
    w->apply = apply_new(&options);
    apply_set_term(w->apply, 3);
}

static void world_close(struct world *w)
{
    mvcc_check(w->mvcc);
    lessor_check(w->lessor);
    backend_check(w->backend);
    apply_free(&w->apply);
    alarms_close(&w->alarms);
    mvcc_close(&w->mvcc);
    lessor_close(&w->lessor);
    backend_close(&w->backend);
    sim_disk_free(&w->disk);
}

/* What must not change: revisions, rows and alarms. */
struct state {
    int64_t revision;
    int64_t compact_revision;
    size_t alarms;
    uint32_t hash;
};

static struct state state_of(struct world *w)
{
    struct mvcc_hash *hash = NULL;
    struct mvcc_hash_result result = {0};
    if (mvcc_hash_begin(w->mvcc, 0, &hash) == ERR_OK) {
        mvcc_hash_run(hash);
        mvcc_hash_end(&hash, &result);
    }
    return (struct state){
        .revision = mvcc_revision(w->mvcc),
        .compact_revision = mvcc_compact_revision(w->mvcc),
        .alarms = alarms_count(w->alarms),
        .hash = result.hash,
    };
}

/* ---- methods --------------------------------------------------------------------------------- */

typedef enum status check_fn(const void *message);
typedef enum status apply_fn(struct apply *apply, const void *message, struct arena *arena,
                             struct slice *reply_out);

#define METHOD(name, type)                                                                         \
    static enum status do_##name(struct apply *apply, const void *message, struct arena *arena,    \
                                 struct slice *reply_out)                                          \
    {                                                                                              \
        return apply_##name(apply, (const type *)message, arena, reply_out);                       \
    }
METHOD(range, Etcdserverpb__RangeRequest)
METHOD(put, Etcdserverpb__PutRequest)
METHOD(delete_range, Etcdserverpb__DeleteRangeRequest)
METHOD(compact, Etcdserverpb__CompactionRequest)
METHOD(alarm, Etcdserverpb__AlarmRequest)

/* In steps as small as they can be. */
static enum status do_txn(struct apply *apply, const void *message, struct arena *arena,
                          struct slice *reply_out)
{
    enum work_kind kind = txn_is_write(message) ? WORK_TXN : WORK_TXN_READ;
    struct work work;
    struct pieces *pieces = NULL;
    enum status status = work_open(&work, apply, kind, message, arena, true);
    if (status != STATUS_OK) {
        return status;
    }
    for (uint64_t budget = 1; !work_step(&work, &budget); budget = 1) {
    }
    status = work_end(&work, reply_out, &pieces);
    if (pieces != NULL) {
        *reply_out = pieces_take(pieces, arena);
    }
    return status;
}

static enum status check_any_range(const void *message)
{
    return check_range(message);
}
static enum status check_any_put(const void *message)
{
    return check_put(message);
}
static enum status check_any_delete(const void *message)
{
    return check_delete_range(message);
}
static enum status check_any_txn(const void *message)
{
    return check_txn(message, OPS_MAX);
}

static const struct {
    const ProtobufCMessageDescriptor *request;
    const ProtobufCMessageDescriptor *response;
    check_fn *check; /* NULL: nothing is checked */
    apply_fn *apply;
} methods[] = {
    {&etcdserverpb__range_request__descriptor, &etcdserverpb__range_response__descriptor,
     check_any_range, do_range},
    {&etcdserverpb__put_request__descriptor, &etcdserverpb__put_response__descriptor, check_any_put,
     do_put},
    {&etcdserverpb__delete_range_request__descriptor,
     &etcdserverpb__delete_range_response__descriptor, check_any_delete, do_delete_range},
    {&etcdserverpb__txn_request__descriptor, &etcdserverpb__txn_response__descriptor, check_any_txn,
     do_txn},
    {&etcdserverpb__compaction_request__descriptor, &etcdserverpb__compaction_response__descriptor,
     NULL, do_compact},
    {&etcdserverpb__alarm_request__descriptor, &etcdserverpb__alarm_response__descriptor, NULL,
     do_alarm},
};

/* ---- one message ------------------------------------------------------------------------------
 */

static void check_reply(const ProtobufCMessageDescriptor *type, struct slice reply)
{
    struct buf encoded = {0};
    ProtobufCMessage *message = protobuf_c_message_unpack(type, NULL, reply.len, reply.data);
    ASSERT(message != NULL);
    pb_encode(message, &encoded);
    ASSERT(slice_eq(buf_slice(&encoded), reply));
    protobuf_c_message_free_unpacked(message, NULL);
    buf_fini(&encoded);
}

/* Refusals that checks are there to make. */
static bool is_of_form(enum status status)
{
    return status == STATUS_EMPTY_KEY || status == STATUS_VALUE_PROVIDED ||
           status == STATUS_LEASE_PROVIDED || status == STATUS_TOO_MANY_OPS ||
           status == STATUS_DUPLICATE_KEY || status == STATUS_INVALID_SORT_OPTION;
}

static void one(struct world *w, uint8_t kind, struct slice bytes)
{
    size_t at = kind % ARRAY_LEN(methods);
    struct arena arena;
    struct errbuf why = {""};
    void *message;
    arena_init(&arena);
    if (pb_decode(&arena, methods[at].request, bytes, &message, &why) != ERR_OK) {
        ASSERT(why.text[0] != '\0');
        arena_fini(&arena);
        return;
    }
    enum status checked = methods[at].check == NULL ? STATUS_OK : methods[at].check(message);
    struct slice reply = {0};
    struct state before = state_of(w);
    backend_begin(w->backend);
    enum status status = methods[at].apply(w->apply, message, &arena, &reply);
    backend_end(w->backend, ++w->index, 1);
    if (status == STATUS_OK) {
        check_reply(methods[at].response, reply);
    } else {
        struct state after = state_of(w);
        ASSERT(after.revision == before.revision);
        ASSERT(after.compact_revision == before.compact_revision);
        ASSERT(after.alarms == before.alarms);
        ASSERT(after.hash == before.hash);
        ASSERT(!(checked == STATUS_OK && is_of_form(status)));
    }
    ASSERT(mvcc_revision(w->mvcc) <= before.revision + 1);
    (void)mvcc_compact_step(w->mvcc);
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w;
    struct slice rest = slice_of(data, size);
    world_open(&w);
    for (unsigned i = 0; i < MESSAGES_MAX && rest.len >= 3; i++) {
        uint8_t kind = rest.data[0];
        size_t len = get_le16(rest.data + 1);
        rest = slice_skip(rest, 3);
        len = len < rest.len ? len : rest.len;
        one(&w, kind, slice_of(rest.data, len));
        rest = slice_skip(rest, len);
    }
    world_close(&w);
    return 0;
}
