/* Structured logging: the lines of etcd's zap logger, byte for byte.
 *
 *   {"level":"info","ts":"2026-11-20T11:40:00.123456Z","caller":"server/node.c:42",
 *    "msg":"ready","id":"8e9e05c52164694d"}                        (one line in truth)
 *   2026-11-20T11:40:00.123456Z<TAB>info<TAB>server/node.c:42<TAB>ready<TAB>{"id":
 * "8e9e05c52164694d"}
 *
 * A line is formatted once and handed, with its final newline, to every sink. This module opens no
 * file and no socket and reads no clock: sinks and the clock are callbacks. It is no place for
 * library code, which returns errors: the function that decides what to do about one logs it.
 *
 *   LOG_INFO(log, "compacted", log_u64("revision", rev), log_duration("took", took_ns));
 *
 * Fields are built in an array on the stack, only when the level is on: a line that is off costs
 * one comparison. Keys and texts are borrowed until the macro is done.
 *
 * Ownership: a `struct log` is a small handle that its owner embeds or copies; all handles share
 *            one core, which log_core_free() frees when no handle is used any more.
 * Threads:   formatting shares nothing; the sampler and the level are atomic. Sinks are called on
 *            the thread that logs and must bear it (one write(2) of a whole line does).
 * Source:    go.uber.org/zap's JSON and console encoders with etcd's encoder settings. Stack
 *            traces, which zap adds from `error` up, are left out. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/bytes.h"

#include <stdatomic.h>

enum log_level {
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_INFO,
    LOG_LEVEL_WARN,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_DPANIC,
    LOG_LEVEL_PANIC,
    LOG_LEVEL_FATAL,
    LOG_LEVEL_COUNT,
};

enum log_format {
    LOG_FORMAT_JSON,
    LOG_FORMAT_CONSOLE,
};

/* Nanoseconds since 1970-01-01T00:00:00Z. */
typedef int64_t log_clock_fn(void *ctx);
/* One whole line with its newline; borrowed until the sink returns. */
typedef void log_sink_fn(void *ctx, enum log_level level, struct slice line);

struct log_sink {
    log_sink_fn *fn;
    void *ctx;
};

#define LOG_SINKS_MAX 16

/* zap's sampler as etcd sets it: of equal messages at one level, the first 100 of a second are
 * written and then every 100th. */
#define LOG_SAMPLE_FIRST 100
#define LOG_SAMPLE_THEREAFTER 100

struct log_options {
    enum log_level level; /* the lowest that is written */
    enum log_format format;
    bool local_time; /* stamps in the zone of $TZ, else UTC */
    bool sampling;   /* on in servers; off in tests that count lines */
    log_clock_fn *clock;
    void *clock_ctx;
    struct log_sink sinks[LOG_SINKS_MAX]; /* the first sink_count are used */
    size_t sink_count;
};

struct log_core;
struct log {
    struct log_core *core; /* NULL: nothing is logged */
    const char *name;      /* the "logger" key, or NULL; borrowed for the handle's life */
};

/* Everything that can be said about one thing. Built by the functions below. */
enum log_kind {
    LOG_KIND_SKIP,
    LOG_KIND_STR,
    LOG_KIND_STRS,
    LOG_KIND_INT,
    LOG_KIND_UINT,
    LOG_KIND_FLOAT,
    LOG_KIND_BOOL,
    LOG_KIND_DURATION,
    LOG_KIND_HEX,
    LOG_KIND_JSON,
};
struct log_field {
    const char *key;
    enum log_kind kind;
    size_t count; /* LOG_KIND_STRS */
    union {
        struct slice text;
        const char *const *texts;
        int64_t i64;
        uint64_t u64;
        double f64;
        bool boolean;
    } value;
};

/* ---- life cycle ------------------------------------------------------------------------ */

struct log_core *log_core_new(const struct log_options *options);
void log_core_free(struct log_core **core); /* safe on NULL; sinks stay their owners' */

/* A handle on `core`; `name` may be NULL. */
static inline struct log log_handle(struct log_core *core, const char *name)
{
    return (struct log){.core = core, .name = name};
}

/* ---- fields ---------------------------------------------------------------------------- */

static inline struct log_field log_slice(const char *key, struct slice text)
{
    return (struct log_field){.key = key, .kind = LOG_KIND_STR, .value.text = text};
}
static inline struct log_field log_str(const char *key, const char *text)
{
    return log_slice(key, slice_str(text));
}
/* The array is borrowed; ["a","b"], or [] when count is 0. */
static inline struct log_field log_strs(const char *key, const char *const *texts, size_t count)
{
    return (struct log_field){
        .key = key, .kind = LOG_KIND_STRS, .count = count, .value.texts = texts};
}
static inline struct log_field log_i64(const char *key, int64_t number)
{
    return (struct log_field){.key = key, .kind = LOG_KIND_INT, .value.i64 = number};
}
static inline struct log_field log_u64(const char *key, uint64_t number)
{
    return (struct log_field){.key = key, .kind = LOG_KIND_UINT, .value.u64 = number};
}
static inline struct log_field log_f64(const char *key, double number)
{
    return (struct log_field){.key = key, .kind = LOG_KIND_FLOAT, .value.f64 = number};
}
static inline struct log_field log_bool(const char *key, bool fact)
{
    return (struct log_field){.key = key, .kind = LOG_KIND_BOOL, .value.boolean = fact};
}
/* Nanoseconds, shown as Go does: "1.5s". */
static inline struct log_field log_duration(const char *key, int64_t duration_ns)
{
    return (struct log_field){.key = key, .kind = LOG_KIND_DURATION, .value.i64 = duration_ns};
}
/* An id as `%x`: "8e9e05c52164694d". */
static inline struct log_field log_hex(const char *key, uint64_t id)
{
    return (struct log_field){.key = key, .kind = LOG_KIND_HEX, .value.u64 = id};
}
/* The "error" key; no field at all when there is no error (text NULL or empty). */
static inline struct log_field log_error(const char *text)
{
    if (text == NULL || text[0] == 0) {
        return (struct log_field){.kind = LOG_KIND_SKIP};
    }
    return log_str("error", text);
}
/* JSON that the caller made, copied as it is. */
static inline struct log_field log_json(const char *key, struct slice json)
{
    return (struct log_field){.key = key, .kind = LOG_KIND_JSON, .value.text = json};
}

/* ---- writing --------------------------------------------------------------------------- */

/* The first member of the core, for log_enabled() alone. */
struct log_gate {
    _Atomic int level; /* enum log_level */
};

static inline bool log_enabled(const struct log *log, enum log_level level)
{
    if (log == NULL || log->core == NULL) {
        return false;
    }
    const struct log_gate *gate = (const struct log_gate *)(const void *)log->core;
    return (int)level >= atomic_load_explicit(&gate->level, memory_order_relaxed);
}

/* Use the macros. `file` is a __FILE__; its last two parts are shown. */
void log_write(const struct log *log, enum log_level level, const char *file, int line,
               const char *message, const struct log_field *fields, size_t field_count);

#define LOG_AT(handle, level, message, ...)                                                        \
    do {                                                                                           \
        const struct log *log_at_ = (handle);                                                      \
        if (log_enabled(log_at_, (level))) {                                                       \
            const struct log_field log_fields_[] = {{.kind = LOG_KIND_SKIP}, ##__VA_ARGS__};       \
            log_write(log_at_, (level), __FILE__, __LINE__, (message), log_fields_,                \
                      ARRAY_LEN(log_fields_));                                                     \
        }                                                                                          \
    } while (0)

#define LOG_DEBUG(handle, message, ...) LOG_AT(handle, LOG_LEVEL_DEBUG, message, ##__VA_ARGS__)
#define LOG_INFO(handle, message, ...) LOG_AT(handle, LOG_LEVEL_INFO, message, ##__VA_ARGS__)
#define LOG_WARN(handle, message, ...) LOG_AT(handle, LOG_LEVEL_WARN, message, ##__VA_ARGS__)
#define LOG_ERROR(handle, message, ...) LOG_AT(handle, LOG_LEVEL_ERROR, message, ##__VA_ARGS__)
/* Logs only: the caller then ends the process with status 1, as zap's Fatal would. */
#define LOG_FATAL(handle, message, ...) LOG_AT(handle, LOG_LEVEL_FATAL, message, ##__VA_ARGS__)

/* ---- levels ---------------------------------------------------------------------------- */

/* Changes the level of every handle on the core, at once. */
void log_level_set(struct log_core *core, enum log_level level);
enum log_level log_level_get(const struct log_core *core);

/* "debug" … "fatal". Static storage. */
const char *log_level_name(enum log_level level);

/* As zap: lower or upper case; "" is info. ERR_INVALID with
 * `unrecognized level: "x"` in *why (may be NULL). */
FALLIBLE log_level_parse(struct slice text, enum log_level *out, struct errbuf *why);

/* ---- for other writers of zap's JSON ----------------------------------------------------- */

/* `text` as a JSON string with its quotes, escaped as zap does: <, > and & stay, bad UTF-8
 * becomes \ufffd. */
void log_json_quote(struct slice text, struct buf *out);

#endif
