#include "server/logging.h"

#include "base/gotext.h"
#include "codec/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MEGABYTE ((uint64_t)1 << 20)
#define DAY_NS (24 * GO_NS_PER_HOUR)
#define MAXSIZE_DEFAULT_MB 100
#define BACKUPS_MAX 10000 /* old files looked at */
/* "-2006-01-02T15-04-05.000": what stands between name and extension of a rotated file. */
#define STAMP_LEN 24

struct rotation {
    bool on;
    uint64_t size_max;    /* bytes */
    int64_t age_max_ns;   /* 0: any */
    uint64_t backups_max; /* 0: any */
    bool local_time;
};

struct output {
    struct file *file;
    const char *path;
    uint64_t size;
    struct rotation rotation;
    struct logging *logging;
};

struct logging {
    struct arena arena;
    struct logging_options options;
    struct log_core *core;
    struct output outputs[LOG_SINKS_MAX];
    size_t output_count;
};

/* ---- standard streams
 * ---------------------------------------------------------------------------- */

void logging_stdout(void *ctx, enum log_level level, struct slice line)
{
    UNUSED(ctx);
    UNUSED(level);
    if (line.len > 0) {
        fwrite(line.data, 1, line.len, stdout);
        fflush(stdout);
    }
}

void logging_stderr(void *ctx, enum log_level level, struct slice line)
{
    UNUSED(ctx);
    UNUSED(level);
    if (line.len > 0) {
        fwrite(line.data, 1, line.len, stderr);
    }
}

/* ---- rotation
 * --------------------------------------------------------------------------------------- */

/* Directory, name and extension of a log file: "a/b.log" is "a", "b" and ".log". */
struct name {
    struct slice dir; /* with its slash, or empty */
    struct slice stem;
    struct slice extension;
};

static struct name split_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash == NULL ? path : slash + 1;
    const char *dot = strrchr(base, '.');
    const char *end = path + strlen(path);
    dot = dot == NULL ? end : dot;
    return (struct name){
        .dir = slice_of(path, (size_t)(base - path)),
        .stem = slice_of(base, (size_t)(dot - base)),
        .extension = slice_of(dot, (size_t)(end - dot)),
    };
}

/* What the file is called once it is put away at `now_ns`; appends. */
static void backup_path(const struct output *output, int64_t now_ns, struct buf *path)
{
    struct name name = split_name(output->path);
    time_t seconds = (time_t)(now_ns / GO_NS_PER_SEC);
    struct tm tm = {0};
    char stamp[32];
    if (output->rotation.local_time) {
        localtime_r(&seconds, &tm);
    } else {
        gmtime_r(&seconds, &tm);
    }
    strftime(stamp, sizeof(stamp), "-%Y-%m-%dT%H-%M-%S", &tm);
    buf_append_slice(path, name.dir);
    buf_append_slice(path, name.stem);
    buf_printf(path, "%s.%03d", stamp, (int)(now_ns / GO_NS_PER_MS % 1000));
    buf_append_slice(path, name.extension);
}

struct backups {
    struct arena *arena;
    struct name name;
    const char *names[BACKUPS_MAX];
    size_t count;
};

static void note_backup(const char *text, void *ctx)
{
    struct backups *backups = ctx;
    struct slice file = slice_str(text);
    const struct name *name = &backups->name;
    bool has_room = backups->count < BACKUPS_MAX;
    if (!has_room || file.len != name->stem.len + STAMP_LEN + name->extension.len ||
        !slice_starts(file, name->stem)) {
        return;
    }
    struct slice stamp = slice_of(file.data + name->stem.len, STAMP_LEN);
    struct slice tail = slice_skip(file, name->stem.len + STAMP_LEN);
    static const char shape[] = "-0000-00-00T00-00-00.000";
    for (size_t i = 0; i < STAMP_LEN; i++) {
        bool is_digit = stamp.data[i] >= '0' && stamp.data[i] <= '9';
        if (shape[i] == '0' ? !is_digit : stamp.data[i] != (uint8_t)shape[i]) {
            return;
        }
    }
    if (slice_eq(tail, name->extension)) {
        backups->names[backups->count++] = arena_strndup(backups->arena, text, file.len);
    }
}

static int newest_first(const void *a, const void *b)
{
    return strcmp(*(const char *const *)b, *(const char *const *)a);
}

/* The base name a file put away at the age limit would have: names sort by time. */
static const char *age_limit(const struct output *output, struct arena *arena, int64_t now_ns)
{
    struct buf path = {0};
    if (output->rotation.age_max_ns == 0) {
        return "";
    }
    backup_path(output, now_ns - output->rotation.age_max_ns, &path);
    size_t dir_len = split_name(output->path).dir.len;
    const char *copy = arena_strndup(arena, buf_cstr(&path) + dir_len, path.len - dir_len);
    buf_fini(&path);
    return copy;
}

static void remove_backup(struct disk *disk, struct backups *backups, const char *base)
{
    const struct slice dir = backups->name.dir;
    const char *path = arena_printf(backups->arena, "%.*s%s", (int)dir.len,
                                    dir.len == 0 ? "" : (const char *)dir.data, base);
    enum err err = disk_unlink(disk, path, NULL);
    UNUSED(err); /* failing to is no reason to stop logging */
}

/* Removes what is over the number or the age. */
static void remove_old(struct output *output, int64_t now_ns)
{
    const struct rotation *rotation = &output->rotation;
    struct disk *disk = output->logging->options.disk;
    if (rotation->backups_max == 0 && rotation->age_max_ns == 0) {
        return;
    }
    struct arena arena;
    arena_init(&arena);
    struct backups *backups = ARENA_NEW(&arena, struct backups);
    *backups = (struct backups){.arena = &arena, .name = split_name(output->path)};
    const struct slice dir = backups->name.dir;
    const char *folder =
        dir.len == 0 ? "." : arena_strndup(&arena, (const char *)dir.data, dir.len);
    const char *limit = age_limit(output, &arena, now_ns);
    if (disk_list(disk, folder, note_backup, backups, NULL) == ERR_OK && backups->count > 0) {
        qsort(backups->names, backups->count, sizeof(backups->names[0]), newest_first);
    }
    for (size_t i = 0; i < backups->count; i++) {
        bool is_surplus = rotation->backups_max > 0 && i >= rotation->backups_max;
        if (is_surplus || strcmp(backups->names[i], limit) < 0) {
            remove_backup(disk, backups, backups->names[i]);
        }
    }
    arena_fini(&arena);
}

static enum err open_file(struct output *output, struct errbuf *why)
{
    struct disk *disk = output->logging->options.disk;
    unsigned flags = FILE_READ | FILE_WRITE | FILE_CREATE;
    TRY(disk_open(disk, output->path, flags, &output->file, why));
    return file_size(output->file, &output->size, why);
}

/* Names the full file after the time and begins a new one. */
static enum err rotate(struct output *output, int64_t now_ns)
{
    struct disk *disk = output->logging->options.disk;
    file_close(&output->file);
    if (output->size > 0) {
        struct buf path = {0};
        backup_path(output, now_ns, &path);
        enum err err = disk_rename(disk, output->path, buf_cstr(&path), NULL);
        buf_fini(&path);
        TRY(err);
    }
    TRY(open_file(output, NULL));
    remove_old(output, now_ns);
    return ERR_OK;
}

/* ---- files
 * ------------------------------------------------------------------------------------------ */

static enum err write_line(struct output *output, struct slice line)
{
    const struct logging_options *options = &output->logging->options;
    bool is_over = output->rotation.on && output->size + line.len > output->rotation.size_max;
    if (is_over && output->file != NULL) {
        TRY(rotate(output, options->clock(options->clock_ctx)));
    }
    if (output->file == NULL) { /* an earlier rotation could not open it */
        TRY(open_file(output, NULL));
    }
    TRY(file_pwrite(output->file, line.data, line.len, output->size, NULL));
    output->size += line.len;
    return ERR_OK;
}

static void output_sink(void *ctx, enum log_level level, struct slice line)
{
    struct output *output = ctx;
    if (write_line(output, line) != ERR_OK) {
        const struct log_sink *fallback = &output->logging->options.standard_error;
        fallback->fn(fallback->ctx, level, line);
    }
}

enum err logging_open_error(enum err err, const char *path, struct errbuf *why)
{
    if (err == ERR_NOT_FOUND) {
        return errf(why, err, "open %s: no such file or directory", path);
    }
    if (err == ERR_PERM) {
        return errf(why, err, "open %s: permission denied", path);
    }
    return err;
}

/* zap's sentence, and the mode it opens with. */
static enum err add_file(struct logging *logging, const char *path, const struct rotation *rotation,
                         struct log_sink *out, struct errbuf *why)
{
    struct output *output = &logging->outputs[logging->output_count++];
    *output = (struct output){.path = path, .logging = logging, .rotation = *rotation};
    bool existed = disk_exists(logging->options.disk, path);
    enum err err = open_file(output, why);
    if (err != ERR_OK) {
        return err_wrap(why, logging_open_error(err, path, why), "open sink \"%s\"", path);
    }
    if (!existed && !rotation->on) {
        TRY(disk_chmod(logging->options.disk, path, 0644, why));
    }
    *out = (struct log_sink){.fn = output_sink, .ctx = output};
    return ERR_OK;
}

/* ---- opening
 * ------------------------------------------------------------------------------------------ */

static bool is_stream(const char *output)
{
    return strcmp(output, "default") == 0 || strcmp(output, "stderr") == 0 ||
           strcmp(output, "stdout") == 0;
}

static enum err rotation_number(const struct json *root, const char *name, uint64_t max,
                                uint64_t *out, struct errbuf *why)
{
    enum err err = json_to_u64(json_get(root, name), out);
    if (err == ERR_NOT_FOUND) {
        *out = 0;
        return ERR_OK;
    }
    if (err != ERR_OK || *out > max) {
        return errf(why, ERR_INVALID,
                    "invalid log rotation config: %s must be a whole number from 0 to %llu", name,
                    (unsigned long long)max);
    }
    return ERR_OK;
}

/* {"maxsize": MB, "maxage": days, "maxbackups": files, "localtime": bool, "compress": bool} */
static enum err parse_rotation(struct arena *arena, const char *text, struct rotation *out,
                               struct errbuf *why)
{
    struct json *root;
    uint64_t megabytes;
    uint64_t days;
    uint64_t backups;
    if (json_parse(arena, slice_str(text), &root, why) != ERR_OK) {
        return err_wrap(why, ERR_INVALID, "improperly formatted log rotation config");
    }
    if (root->kind != JSON_OBJECT) {
        return errf(why, ERR_INVALID, "invalid log rotation config: it must be a JSON object");
    }
    TRY(rotation_number(root, "maxsize", 1 << 20, &megabytes, why));
    TRY(rotation_number(root, "maxage", 36500, &days, why));
    TRY(rotation_number(root, "maxbackups", 1 << 20, &backups, why));
    if (json_bool_or(json_get(root, "compress"), false)) {
        return errf(why, ERR_UNSUPPORTED,
                    "--log-rotation-config-json: \"compress\": true is not built yet; set it to "
                    "false and let another program compress what is put away");
    }
    *out = (struct rotation){
        .on = true,
        .size_max = (megabytes == 0 ? MAXSIZE_DEFAULT_MB : megabytes) * MEGABYTE,
        .age_max_ns = (int64_t)days * DAY_NS,
        .backups_max = backups,
        .local_time = json_bool_or(json_get(root, "localtime"), false),
    };
    return ERR_OK;
}

static enum err check_rotation(struct logging *logging, struct rotation *out, struct errbuf *why)
{
    const struct logging_options *options = &logging->options;
    size_t files = 0;
    *out = (struct rotation){0};
    if (!options->rotate) {
        return ERR_OK;
    }
    for (size_t i = 0; i < options->output_count; i++) {
        files += is_stream(options->outputs[i]) ? 0 : 1;
    }
    if (files > 1 || (files == 0 && options->output_count <= 1)) {
        return errf(why, ERR_INVALID,
                    "--log-outputs requires a single file path when --log-rotate-config-json is "
                    "defined");
    }
    return parse_rotation(&logging->arena, options->rotation_json, out, why);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The sinks' names: sorted, each once; "/dev/null" alone when it is among them. */
static enum err merge_outputs(struct logging *logging, const char **merged, size_t *count_out,
                              struct errbuf *why)
{
    const struct logging_options *options = &logging->options;
    size_t count = 0;
    if (options->output_count > LOG_SINKS_MAX) {
        return errf(why, ERR_INVALID, "--log-outputs may name at most %d outputs, these are %zu",
                    LOG_SINKS_MAX, options->output_count);
    }
    for (size_t i = 0; i < options->output_count; i++) {
        const char *output = options->outputs[i];
        if (strcmp(output, "default") == 0 && options->output_count > 1) {
            return errf(why, ERR_INVALID, "multi logoutput for \"default\" is not supported yet");
        }
        if (strcmp(output, "systemd/journal") == 0) {
            return errf(why, ERR_UNSUPPORTED,
                        "--log-outputs=systemd/journal is not built yet; with stderr the journal "
                        "gets the lines of a systemd service too");
        }
        if (output[0] == 0) {
            return errf(why, ERR_INVALID, "--log-outputs names an empty path");
        }
        if (strcmp(output, "/dev/null") == 0) {
            *count_out = 0;
            return ERR_OK;
        }
        merged[count++] = strcmp(output, "default") == 0 ? "stderr" : output;
    }
    if (count == 0) {
        merged[count++] = "stderr";
    }
    qsort(merged, count, sizeof(*merged), by_text);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || strcmp(merged[kept - 1], merged[i]) != 0) {
            merged[kept++] = merged[i];
        }
    }
    *count_out = kept;
    return ERR_OK;
}

static enum err parse_form(const struct logging_options *options, struct log_options *out,
                           struct errbuf *why)
{
    if (strcmp(options->logger, "capnslog") == 0) {
        return errf(why, ERR_INVALID, "--logger=capnslog is removed in v3.5");
    }
    if (strcmp(options->logger, "zap") != 0) {
        return errf(why, ERR_INVALID, "unknown logger option \"%s\"", options->logger);
    }
    if (strcmp(options->format, "console") == 0) {
        out->format = LOG_FORMAT_CONSOLE;
    } else if (strcmp(options->format, "json") != 0 && options->format[0] != 0) {
        return errf(why, ERR_INVALID, "unknown log format: %s, supported values json, console",
                    options->format);
    }
    return log_level_parse(slice_str(options->level), &out->level, why);
}

static enum err open_sinks(struct logging *logging, struct log_options *out, struct errbuf *why)
{
    const struct logging_options *options = &logging->options;
    const char *merged[LOG_SINKS_MAX];
    struct rotation rotation;
    size_t count = 0;
    TRY(merge_outputs(logging, merged, &count, why));
    TRY(check_rotation(logging, &rotation, why));
    for (size_t i = 0; i < count; i++) {
        if (strcmp(merged[i], "stderr") == 0) {
            out->sinks[i] = options->standard_error;
        } else if (strcmp(merged[i], "stdout") == 0) {
            out->sinks[i] = options->standard_out;
        } else {
            TRY(add_file(logging, merged[i], &rotation, &out->sinks[i], why));
        }
    }
    out->sink_count = count;
    return ERR_OK;
}

FALLIBLE logging_open(const struct logging_options *options, struct logging **out,
                      struct errbuf *why)
{
    struct log_options log_options = {
        .local_time = options->local_time,
        .sampling = true,
        .clock = options->clock,
        .clock_ctx = options->clock_ctx,
    };
    TRY(parse_form(options, &log_options, why));
    struct logging *logging = NEW(struct logging);
    logging->options = *options;
    arena_init(&logging->arena);
    enum err err = open_sinks(logging, &log_options, why);
    if (err != ERR_OK) {
        logging_close(&logging);
        return err;
    }
    logging->core = log_core_new(&log_options);
    *out = logging;
    return ERR_OK;
}

void logging_close(struct logging **logging)
{
    if (*logging == NULL) {
        return;
    }
    log_core_free(&(*logging)->core);
    for (size_t i = 0; i < (*logging)->output_count; i++) {
        file_close(&(*logging)->outputs[i].file);
    }
    arena_fini(&(*logging)->arena);
    mem_free(*logging);
    *logging = NULL;
}

struct log_core *logging_core(const struct logging *logging)
{
    return logging->core;
}
