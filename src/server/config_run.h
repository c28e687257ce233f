/* For tests: one run of config_load() with captured output. */
#ifndef SERVER_CONFIG_RUN_H
#define SERVER_CONFIG_RUN_H

#include "server/config_priv.h"

#include "env/posix.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#define WORDS_MAX 64

/* One run of config_load() and what came of it. */
struct run {
    const char *argv[WORDS_MAX];
    int argc;
    const char *environ[WORDS_MAX];
    size_t env_count;
    struct buf out;
    struct buf err;
    struct config *config;
    enum config_verdict verdict;
    int status;
};

static inline int64_t clock_fn(void *ctx)
{
    UNUSED(ctx);
    return 0;
}

static inline void capture(void *ctx, enum log_level level, struct slice text)
{
    UNUSED(level);
    buf_append_slice(ctx, text);
}

static inline void run_init(struct run *run)
{
    *run = (struct run){.argv = {"etcd"}, .argc = 1};
}

static inline void run_arg(struct run *run, const char *word)
{
    assert_true(run->argc < WORDS_MAX);
    run->argv[run->argc++] = word;
}

static inline void run_env(struct run *run, const char *variable)
{
    assert_true(run->env_count + 1 < WORDS_MAX);
    run->environ[run->env_count++] = variable;
}

static inline void run_go(struct run *run)
{
    struct config_input in = {
        .argc = run->argc,
        .argv = run->argv,
        .environ = run->environ,
        .disk = posix_disk(),
        .clock = clock_fn,
        .standard_out = {capture, &run->out},
        .standard_error = {capture, &run->err},
    };
    run->status = -1;
    run->verdict = config_load(&in, &run->config, &run->status);
    assert_true((run->config != NULL) == (run->verdict == CONFIG_RUN));
    buf_cstr(&run->out);
    buf_cstr(&run->err);
}

static inline void run_fini(struct run *run)
{
    config_free(&run->config);
    buf_fini(&run->out);
    buf_fini(&run->err);
}

/* Runs with the flags in `line`, split at blanks. */
static inline void run_line(struct run *run, const char *line)
{
    static char copy[4096];
    run_init(run);
    snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
        run_arg(run, word);
    }
    run_go(run);
}

static inline void expect_in(struct buf *text, const char *wanted)
{
    if (strstr(buf_cstr(text), wanted) == NULL) {
        print_message("# wanted: %s\n# in: %s\n", wanted, buf_cstr(text));
        fail();
    }
}

static inline void expect_not_in(struct buf *text, const char *unwanted)
{
    if (strstr(buf_cstr(text), unwanted) != NULL) {
        print_message("# unwanted: %s\n# in: %s\n", unwanted, buf_cstr(text));
        fail();
    }
}

/* The line ended with exit 1 and this error in `failed to verify flags`. */
static inline void expect_refusal(struct run *run, const char *sentence)
{
    struct buf wanted = {0};
    buf_append_str(&wanted, "\"msg\":\"failed to verify flags\",\"error\":");
    log_json_quote(slice_str(sentence), &wanted);
    buf_append_str(&wanted, "}\n");
    assert_int_equal(run->verdict, CONFIG_EXIT);
    assert_int_equal(run->status, 1);
    expect_in(&run->err, buf_cstr(&wanted));
    buf_fini(&wanted);
}

/* Writes `text` to a file of its own and loads it. */
static inline void run_file(struct run *run, const char *text)
{
    static char path[128];
    struct errbuf why;
    snprintf(path, sizeof(path), "%s/etcd.yaml", test_dir());
    assert_int_equal(disk_write_file(posix_disk(), path, slice_str(text), &why), ERR_OK);
    run_init(run);
    run_arg(run, "--config-file");
    run_arg(run, path);
    run_go(run);
}

#endif
