/* A line is built in one buffer and handed to every sink. Order of the keys, separators and
 * escapes are zap's:
 *
 *   json     {"level":L,"ts":T,"logger":N,"caller":C,"msg":M,"k":v,...}\n
 *   console  T \t L \t N \t C \t M \t {"k": v, ...}\n      (no last column without fields)
 *
 * The console form writes its object with a blank behind each colon and comma. */
#include "base/log.h"

#include "base/digest.h"
#include "base/gotext.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <math.h>
#include <time.h>

#define NS_PER_US_I ((int64_t)1000)
#define NS_PER_SEC_I ((int64_t)1000000000)

/* zap's sampler counts in a table of this many slots a level, by the message's hash. */
#define SAMPLE_SLOTS 4096

struct sample_slot {
    _Atomic int64_t reset_at_ns; /* the second that is being counted ends here */
    _Atomic uint64_t count;
};

struct log_core {
    struct log_gate gate; /* first: log_enabled() reads it */
    struct log_options options;
    struct sample_slot *slots; /* LOG_LEVEL_COUNT * SAMPLE_SLOTS, or NULL */
};

_Static_assert(offsetof(struct log_core, gate) == 0, "log_enabled() reads the gate");

static const char *const level_names[LOG_LEVEL_COUNT] = {
    [LOG_LEVEL_DEBUG] = "debug", [LOG_LEVEL_INFO] = "info",     [LOG_LEVEL_WARN] = "warn",
    [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_DPANIC] = "dpanic", [LOG_LEVEL_PANIC] = "panic",
    [LOG_LEVEL_FATAL] = "fatal",
};

/* ---- life cycle ------------------------------------------------------------------------ */

struct log_core *log_core_new(const struct log_options *options)
{
    ASSERT(options->clock != NULL);
    ASSERT(options->sink_count <= LOG_SINKS_MAX);
    ASSERT((unsigned)options->level < LOG_LEVEL_COUNT);
    struct log_core *core = NEW(struct log_core);
    core->options = *options;
    atomic_init(&core->gate.level, (int)options->level);
    if (options->sampling) {
        core->slots = mem_zalloc(sizeof(struct sample_slot) * LOG_LEVEL_COUNT * SAMPLE_SLOTS);
    }
    return core;
}

void log_core_free(struct log_core **core)
{
    if (*core != NULL) {
        mem_free((*core)->slots);
        mem_free(*core);
        *core = NULL;
    }
}

/* ---- the sampler --------------------------------------------------------------------------- */

/* May this line be written? A slot counts the lines of its second, as zap's counters do. */
static bool sample(struct log_core *core, enum log_level level, const char *message, int64_t now)
{
    if (core->slots == NULL) {
        return true;
    }
    uint64_t hash = hash64(0, slice_str(message));
    struct sample_slot *slot = &core->slots[(size_t)level * SAMPLE_SLOTS + hash % SAMPLE_SLOTS];
    if (atomic_load(&slot->reset_at_ns) <= now) {
        atomic_store(&slot->reset_at_ns, now + NS_PER_SEC_I);
        atomic_store(&slot->count, 0);
    }
    uint64_t count = atomic_fetch_add(&slot->count, 1) + 1;
    return count <= LOG_SAMPLE_FIRST || (count - LOG_SAMPLE_FIRST) % LOG_SAMPLE_THEREAFTER == 0;
}

/* ---- values ---------------------------------------------------------------------------------- */

void log_json_quote(struct slice text, struct buf *out)
{
    static const char digits[] = "0123456789abcdef";
    buf_append_byte(out, '"');
    size_t start = 0; /* of what needs no escape */
    for (size_t i = 0; i < text.len;) {
        uint8_t c = text.data[i];
        size_t len = utf8_len(slice_skip(text, i));
        if (len > 1 || (len == 1 && c >= 0x20 && c != '"' && c != '\\')) {
            i += len;
            continue;
        }
        buf_append(out, text.data + start, i - start);
        if (len == 0) {
            buf_append_str(out, "\\ufffd");
        } else if (c == '"' || c == '\\') {
            buf_append_byte(out, '\\');
            buf_append_byte(out, c);
        } else if (c == '\n' || c == '\r' || c == '\t') {
            buf_append_byte(out, '\\');
            buf_append_byte(out, (uint8_t)(c == '\n' ? 'n' : c == '\r' ? 'r' : 't'));
        } else {
            buf_append_str(out, "\\u00");
            buf_append_byte(out, (uint8_t)digits[c >> 4]);
            buf_append_byte(out, (uint8_t)digits[c & 15]);
        }
        i++;
        start = i;
    }
    buf_append(out, text.data + start, text.len - start);
    buf_append_byte(out, '"');
}

static void append_u64(struct buf *out, uint64_t number)
{
    char text[20];
    size_t at = sizeof(text);
    do {
        text[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    buf_append(out, text + at, sizeof(text) - at);
}

static void append_i64(struct buf *out, int64_t number)
{
    if (number < 0) {
        buf_append_byte(out, '-');
    }
    append_u64(out, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

static void append_hex(struct buf *out, uint64_t id)
{
    static const char digits[] = "0123456789abcdef";
    char text[16];
    size_t at = sizeof(text);
    do {
        text[--at] = digits[id & 15];
        id >>= 4;
    } while (id > 0);
    buf_append_byte(out, '"');
    buf_append(out, text + at, sizeof(text) - at);
    buf_append_byte(out, '"');
}

static void append_float(struct buf *out, double number)
{
    bool is_finite = isfinite(number);
    if (!is_finite) {
        buf_append_byte(out, '"');
    }
    go_format_float(number, out);
    if (!is_finite) {
        buf_append_byte(out, '"');
    }
}

static void append_value(struct buf *out, const struct log_field *field, const char *comma)
{
    switch (field->kind) {
    case LOG_KIND_SKIP:
        UNREACHABLE();
    case LOG_KIND_STR:
        log_json_quote(field->value.text, out);
        break;
    case LOG_KIND_STRS:
        buf_append_byte(out, '[');
        for (size_t i = 0; i < field->count; i++) {
            buf_append_str(out, i == 0 ? "" : comma);
            log_json_quote(slice_str(field->value.texts[i]), out);
        }
        buf_append_byte(out, ']');
        break;
    case LOG_KIND_INT:
        append_i64(out, field->value.i64);
        break;
    case LOG_KIND_UINT:
        append_u64(out, field->value.u64);
        break;
    case LOG_KIND_FLOAT:
        append_float(out, field->value.f64);
        break;
    case LOG_KIND_BOOL:
        buf_append_str(out, field->value.boolean ? "true" : "false");
        break;
    case LOG_KIND_DURATION:
        buf_append_byte(out, '"');
        go_format_duration(field->value.i64, out);
        buf_append_byte(out, '"');
        break;
    case LOG_KIND_HEX:
        append_hex(out, field->value.u64);
        break;
    case LOG_KIND_JSON:
        buf_append_slice(out, field->value.text);
        break;
    }
}

/* `"k":v` for each field that says something; `first` is the separator before the first. */
static void append_fields(struct buf *out, const struct log_field *fields, size_t count,
                          const char *first, bool is_spaced)
{
    const char *comma = is_spaced ? ", " : ",";
    const char *separator = first;
    for (size_t i = 0; i < count; i++) {
        if (fields[i].kind == LOG_KIND_SKIP) {
            continue;
        }
        buf_append_str(out, separator);
        separator = comma;
        log_json_quote(slice_str(fields[i].key), out);
        buf_append_str(out, is_spaced ? ": " : ":");
        append_value(out, &fields[i], comma);
    }
}

/* ---- the stamp ----------------------------------------------------------------------------------
 */

/* Writes `value` as exactly `width` digits. */
static void put_digits(char *at, unsigned value, unsigned width)
{
    while (width > 0) {
        at[--width] = (char)('0' + value % 10);
        value /= 10;
    }
}

/* "2026-11-20T11:40:00.123456Z", or with +0100 where the zone is not UTC. Go's layout
 * 2006-01-02T15:04:05.000000Z0700: microseconds, cut and not rounded. */
static void append_stamp(struct buf *out, int64_t now_ns, bool local_time)
{
    int64_t seconds = now_ns / NS_PER_SEC_I;
    int64_t rest = now_ns % NS_PER_SEC_I;
    if (rest < 0) {
        rest += NS_PER_SEC_I;
        seconds--;
    }
    time_t when = (time_t)seconds;
    struct tm tm = {0};
    if (local_time) {
        localtime_r(&when, &tm);
    } else {
        gmtime_r(&when, &tm);
    }
    char text[] = "0000-00-00T00:00:00.000000+0000";
    put_digits(text, (unsigned)(tm.tm_year + 1900), 4);
    put_digits(text + 5, (unsigned)tm.tm_mon + 1, 2);
    put_digits(text + 8, (unsigned)tm.tm_mday, 2);
    put_digits(text + 11, (unsigned)tm.tm_hour, 2);
    put_digits(text + 14, (unsigned)tm.tm_min, 2);
    put_digits(text + 17, (unsigned)tm.tm_sec, 2);
    put_digits(text + 20, (unsigned)(rest / NS_PER_US_I), 6);
    long offset_min = tm.tm_gmtoff / 60;
    if (offset_min == 0) {
        text[26] = 'Z';
        buf_append(out, text, 27);
        return;
    }
    text[26] = offset_min < 0 ? '-' : '+';
    unsigned minutes = (unsigned)(offset_min < 0 ? -offset_min : offset_min);
    put_digits(text + 27, minutes / 60, 2);
    put_digits(text + 29, minutes % 60, 2);
    buf_append(out, text, 31);
}

/* ---- lines
 * ---------------------------------------------------------------------------------------- */

/* The last two parts of a path: "../src/server/node.c" is "server/node.c". */
static const char *short_file(const char *file)
{
    const char *last = strrchr(file, '/');
    if (last == NULL) {
        return file;
    }
    while (last > file && last[-1] != '/') {
        last--;
    }
    return last;
}

static void append_caller(struct buf *out, const char *file, int line)
{
    buf_append_str(out, short_file(file));
    buf_append_byte(out, ':');
    append_i64(out, line);
}

struct line {
    enum log_level level;
    const char *name;
    const char *file;
    int number;
    const char *message;
    const struct log_field *fields;
    size_t field_count;
    int64_t now_ns;
};

static void append_json(struct buf *out, const struct line *line, bool local_time)
{
    buf_append_str(out, "{\"level\":\"");
    buf_append_str(out, level_names[line->level]);
    buf_append_str(out, "\",\"ts\":\"");
    append_stamp(out, line->now_ns, local_time);
    buf_append_byte(out, '"');
    if (line->name != NULL) {
        buf_append_str(out, ",\"logger\":");
        log_json_quote(slice_str(line->name), out);
    }
    buf_append_str(out, ",\"caller\":\"");
    append_caller(out, line->file, line->number);
    buf_append_str(out, "\",\"msg\":");
    log_json_quote(slice_str(line->message), out);
    append_fields(out, line->fields, line->field_count, ",", false);
    buf_append_str(out, "}\n");
}

static void append_console(struct buf *out, const struct line *line, bool local_time)
{
    append_stamp(out, line->now_ns, local_time);
    buf_append_byte(out, '\t');
    buf_append_str(out, level_names[line->level]);
    buf_append_byte(out, '\t');
    if (line->name != NULL) {
        buf_append_str(out, line->name);
        buf_append_byte(out, '\t');
    }
    append_caller(out, line->file, line->number);
    buf_append_byte(out, '\t');
    buf_append_str(out, line->message);
    size_t before = out->len;
    append_fields(out, line->fields, line->field_count, "\t{", true);
    buf_append_str(out, out->len > before ? "}\n" : "\n");
}

void log_write(const struct log *log, enum log_level level, const char *file, int number,
               const char *message, const struct log_field *fields, size_t field_count)
{
    struct log_core *core = log->core;
    const struct log_options *options = &core->options;
    int64_t now = options->clock(options->clock_ctx);
    if (!sample(core, level, message, now)) {
        return;
    }
    struct line line = {
        .level = level,
        .name = log->name,
        .file = file,
        .number = number,
        .message = message,
        .fields = fields,
        .field_count = field_count,
        .now_ns = now,
    };
    struct buf out = {0};
    buf_reserve(&out, 512);
    switch (options->format) {
    case LOG_FORMAT_JSON:
        append_json(&out, &line, options->local_time);
        break;
    case LOG_FORMAT_CONSOLE:
        append_console(&out, &line, options->local_time);
        break;
    }
    for (size_t i = 0; i < options->sink_count; i++) {
        options->sinks[i].fn(options->sinks[i].ctx, level, buf_slice(&out));
    }
    buf_fini(&out);
}

/* ---- levels ---------------------------------------------------------------------------- */

void log_level_set(struct log_core *core, enum log_level level)
{
    ASSERT((unsigned)level < LOG_LEVEL_COUNT);
    atomic_store(&core->gate.level, (int)level);
}

enum log_level log_level_get(const struct log_core *core)
{
    return (enum log_level)atomic_load(&core->gate.level);
}

const char *log_level_name(enum log_level level)
{
    ASSERT((unsigned)level < LOG_LEVEL_COUNT);
    return level_names[level];
}

FALLIBLE log_level_parse(struct slice text, enum log_level *out, struct errbuf *why)
{
    char lower[16] = "";
    for (size_t i = 0; i < text.len && i + 1 < sizeof(lower); i++) {
        uint8_t c = text.data[i];
        lower[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
    if (text.len == 0) {
        *out = LOG_LEVEL_INFO;
        return ERR_OK;
    }
    for (int level = 0; level < LOG_LEVEL_COUNT; level++) {
        if (text.len < sizeof(lower) && strcmp(lower, level_names[level]) == 0) {
            *out = (enum log_level)level;
            return ERR_OK;
        }
    }
    struct buf quoted = {0};
    go_quote(text, &quoted);
    enum err err = errf(why, ERR_INVALID, "unrecognized level: %s", buf_cstr(&quoted));
    buf_fini(&quoted);
    return err;
}
