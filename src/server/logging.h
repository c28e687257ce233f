/* Where log lines go: --log-outputs, --log-format, --log-level and rotation made into a logger.
 *
 * Outputs are "default" and "stderr" (standard error), "stdout", or paths of files, which are
 * appended to; "/dev/null" among them silences all. With rotation the one file is renamed to
 * name-<time>.ext when it would grow over its size, and old ones are removed by number and age,
 * as lumberjack does.
 *
 * A line that a file does not take goes to standard error instead.
 *
 * Ownership: logging_close() closes files and frees the core; no handle may be used after it.
 * Threads:   as base/log.h; files belong to the loop thread.
 * Failure:   etcd's own sentences. */
#ifndef SERVER_LOGGING_H
#define SERVER_LOGGING_H

#include "base/log.h"
#include "base/mem.h"
#include "env/env.h"

struct logging_options {
    const char *logger; /* must be "zap" */
    const char *const *outputs;
    size_t output_count; /* 0: default */
    const char *level;
    const char *format;
    bool rotate;
    const char *rotation_json; /* --log-rotation-config-json */
    struct disk *disk;
    log_clock_fn *clock;
    void *clock_ctx;
    bool local_time;
    struct log_sink standard_out;
    struct log_sink standard_error;
};

struct logging;
FALLIBLE logging_open(const struct logging_options *options, struct logging **out,
                      struct errbuf *why);
void logging_close(struct logging **logging); /* safe on NULL */
struct log_core *logging_core(const struct logging *logging);

/* Puts the sentence in *why (may be NULL) in Go's words where it has a known cause: "open x: no
 * such file or directory". Returns `err`. For configuration files too. */
enum err logging_open_error(enum err err, const char *path, struct errbuf *why);

/* Sinks for the process's own standard streams. */
void logging_stdout(void *ctx, enum log_level level, struct slice line);
void logging_stderr(void *ctx, enum log_level level, struct slice line);

#endif
