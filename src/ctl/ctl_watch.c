/* watch: prints changes as they come, and runs a program for each.
 *
 * Callbacks of watches print; programs wait in a queue that the main loop of the command works off,
 * one at a time. Meanwhile the watches are paused, so that the queue never holds more than one
 * response.
 *
 * Interactive, every line of standard input is a command: "watch [options] key [end] [-- program]"
 * or "progress". The end of the input is an error, as in etcdctl.
 *
 * Where we differ: etcdctl finds the words in front of "--" by looking backwards for the first word
 * of the program, and so takes "watch a -- echo echo" for a range up to "echo". We count. */
#include "ctl/ctl_priv.h"
#include "ctl/txn_parse.h"

#include "base/gotext.h"
#include "client/watcher.h"
#include "codec/pb.h"

#define WATCH_LINE_MAX ((size_t)1024 * 1024)

struct watch_run {
    const struct command_call *call;
    struct ctl *ctl;
    struct client_watcher *watcher;
    struct list watches;
    struct list jobs;
    const char *env_key; /* "" where there is none */
    const char *env_range;
    bool is_over;
    bool input_ready;
    int code;
};

/* One watch of the command. */
struct ctl_watch {
    struct list link;
    struct watch_run *run;
    struct client_watch *watch;
    struct arena arena;
    const char *const *argv; /* the program, or NULL */
};

/* A program to be run for one event. */
struct watch_job {
    struct list link;
    struct arena arena;
    const char *const *argv; /* the watch's */
    const char *variables[5];
};

/* What a command line asks for. */
struct watch_ask {
    const char *key;
    const char *range_end; /* NULL: none */
    const char *const *argv;
    bool prefix;
    bool prev_kv;
    bool progress_notify;
    int64_t revision;
};

static void over(struct watch_run *run, int code)
{
    if (!run->is_over) {
        run->is_over = true;
        run->code = code;
    }
}

/* ---- events ------------------------------------------------------------------------------ */

static const char *quoted(struct arena *arena, const char *name, struct slice text)
{
    struct buf line = {0};
    buf_printf(&line, "%s=", name);
    go_quote(text, &line);
    const char *kept = arena_strndup(arena, (const char *)line.data, line.len);
    buf_fini(&line);
    return kept;
}

static void queue_job(struct ctl_watch *watch, const Etcdserverpb__WatchResponse *response,
                      const Mvccpb__Event *event)
{
    struct watch_job *job = NEW(struct watch_job);
    struct buf type = {0};
    arena_init(&job->arena);
    job->argv = watch->argv;
    print_event_type(event->type, &type);
    job->variables[0] =
        arena_printf(&job->arena, "ETCD_WATCH_REVISION=%lld",
                     response->header == NULL ? 0LL : (long long)response->header->revision);
    job->variables[1] = quoted(&job->arena, "ETCD_WATCH_EVENT_TYPE", buf_slice(&type));
    job->variables[2] = quoted(&job->arena, "ETCD_WATCH_KEY", pb_bytes(event->kv->key));
    job->variables[3] = quoted(&job->arena, "ETCD_WATCH_VALUE", pb_bytes(event->kv->value));
    buf_fini(&type);
    list_add_tail(&watch->run->jobs, &job->link);
}

static void job_free(struct watch_job *job)
{
    arena_fini(&job->arena);
    mem_free(job);
}

static bool is_progress(const Etcdserverpb__WatchResponse *response)
{
    return response->n_events == 0 && !response->canceled && !response->created &&
           response->compact_revision == 0 && response->header != NULL &&
           response->header->revision != 0;
}

static void on_update(struct client_watch *client_watch, const struct client_watch_update *update,
                      void *ctx)
{
    struct ctl_watch *watch = ctx;
    struct watch_run *run = watch->run;
    struct ctl *ctl = run->ctl;
    const Etcdserverpb__WatchResponse *response = update->response;
    (void)client_watch;
    if (run->is_over) {
        return;
    }
    if (update->is_end) {
        buf_printf(&ctl->err, "watch was canceled (%s)\n", update->error);
    }
    if (is_progress(response)) {
        buf_printf(&ctl->out, "progress notify: %lld\n", (long long)response->header->revision);
    }
    int code = ctl__shown(ctl, print_watch(&ctl->printer, response));
    ctl__flush(ctl);
    if (code != CTL_OK) {
        over(run, code);
        return;
    }
    for (size_t i = 0; watch->argv != NULL && i < response->n_events; i++) {
        queue_job(watch, response, response->events[i]);
    }
    if (!list_empty(&run->jobs)) {
        client_watcher_pause(run->watcher, true);
    }
    if (update->is_end && !pflag_bool(run->call->flags, "interactive")) {
        over(run, CTL_INTERRUPTED);
    }
}

/* Runs what is queued; what fails ends the command. */
static void work_off(struct watch_run *run)
{
    struct ctl *ctl = run->ctl;
    for (struct list *node = list_pop(&run->jobs); node != NULL; node = list_pop(&run->jobs)) {
        struct watch_job *job = CONTAINER_OF(node, struct watch_job, link);
        struct ctl_exec exec = {.argv = job->argv, .variables = job->variables};
        struct errbuf why = {{0}};
        if (ctl__exec(ctl, &exec, &why) != CTL_OK) {
            buf_append_str(&ctl->err, "command [");
            for (size_t i = 0; job->argv[i] != NULL; i++) {
                buf_append_str(&ctl->err, i == 0 ? "" : " ");
                go_quote(slice_str(job->argv[i]), &ctl->err);
            }
            buf_printf(&ctl->err, "] error (%s)\n", why.text);
            run->is_over = true;
            run->code = CTL_ERROR;
        }
        job_free(job);
        if (run->code == CTL_ERROR) {
            return;
        }
    }
    client_watcher_pause(run->watcher, false);
}

/* ---- command lines ----------------------------------------------------------------------- */

#define BAD_NUMBER "bad number of arguments"

/* The words behind "--", or NULL. The index of "--" in *at_out. */
static const char *const *find_program(const char *const *words, size_t count, size_t *at_out)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(words[i], "--") == 0) {
            *at_out = i;
            return &words[i + 1];
        }
    }
    return NULL;
}

/* What is watched: the first word, up to the second if there are just two. */
static void take_keys(const char *const *keys, size_t count, struct watch_ask *out)
{
    out->key = count > 0 ? keys[0] : NULL;
    out->range_end = count == 2 ? keys[1] : NULL;
}

/* `words` is everything behind "watch", flags and program included; `flags` the same, parsed.
 * NULL, or what is wrong. As in etcdctl, a line with a program is looked at less closely: a key of
 * the environment stands before its own, and if there is none, start() says so. */
static const char *parse_ask(const struct watch_run *run, const char *const *words, size_t count,
                             const struct pflag_set *flags, struct watch_ask *out)
{
    size_t at = 0;
    size_t narg = pflag_narg(flags);
    bool is_interactive = pflag_bool(run->call->flags, "interactive");
    const char *const *program = find_program(words, count, &at);
    const char *keys[4];
    size_t key_count = 0;
    if (program != NULL && at + 1 == count) {
        return BAD_NUMBER " (found separator --, but no commands)";
    }
    narg -= program == NULL ? 0 : count - at - 1;
    if (!is_interactive || program == NULL) {
        if (run->env_key[0] != 0 && narg > 0) {
            return BAD_NUMBER " (found conflicting environment key)";
        }
        if (run->env_key[0] == 0 && narg == 0) {
            return BAD_NUMBER;
        }
    }
    if (run->env_key[0] != 0) {
        keys[key_count++] = run->env_key;
        if (run->env_range[0] != 0) {
            keys[key_count++] = run->env_range;
        }
    }
    for (size_t i = 0; i < narg && key_count < ARRAY_LEN(keys); i++) {
        keys[key_count++] = pflag_arg(flags, i);
    }
    take_keys(keys, key_count, out);
    if (program != NULL) {
        size_t program_len = count - at - 1;
        const char **argv = arena_alloc(&run->ctl->arena, (program_len + 1) * sizeof(*argv));
        memcpy((void *)argv, (const void *)program, program_len * sizeof(*argv));
        argv[program_len] = NULL;
        out->argv = argv;
    }
    out->prefix = pflag_bool(flags, "prefix");
    out->prev_kv = pflag_bool(flags, "prev-kv");
    out->progress_notify = pflag_bool(flags, "progress-notify");
    out->revision = pflag_i64(flags, "rev");
    return NULL;
}

/* NULL, or what is wrong. */
static const char *start(struct watch_run *run, const struct watch_ask *ask)
{
    if (ask->key == NULL) {
        return BAD_NUMBER;
    }
    struct client_watch_options options = {
        .key = slice_str(ask->key),
        .start_revision = ask->revision,
        .prev_kv = ask->prev_kv,
        .progress_notify = ask->progress_notify,
    };
    if (ask->prefix && ask->range_end != NULL) {
        return "`range_end` and `--prefix` are mutually exclusive";
    }
    struct ctl_watch *watch = NEW(struct ctl_watch);
    arena_init(&watch->arena);
    if (ask->range_end != NULL) {
        options.range_end = slice_str(ask->range_end);
    } else if (ask->prefix) {
        options.range_end = kv_prefix_end(&watch->arena, options.key);
        options.key = options.key.len == 0 ? slice_of("\0", 1) : options.key;
    }
    watch->run = run;
    watch->argv = ask->argv;
    list_add_tail(&run->watches, &watch->link);
    watch->watch = client_watch_start(run->watcher, &options, on_update, watch);
    return NULL;
}

/* ---- interactive ------------------------------------------------------------------------- */

static void bad_line(struct ctl *ctl, const char *words, struct slice line, const char *why)
{
    buf_append_str(&ctl->err, words);
    buf_append_slice(&ctl->err, line);
    buf_printf(&ctl->err, " (%s)\n", why);
    ctl__flush(ctl);
}

/* `line` and `words` lie in the run's arena, where they stay. */
static void watch_line(struct watch_run *run, struct slice line, const char *const *words,
                       size_t count)
{
    struct ctl *ctl = run->ctl;
    if (count < 2 && run->env_key[0] == 0) {
        bad_line(ctl, "Invalid command ", line, "command type or key is not provided");
        return;
    }
    struct pflag_set *flags = pflag_set_new();
    struct buf why = {0};
    struct watch_ask ask = {0};
    pflag_add(flags, ctl__watch_flags, CTL_WATCH_FLAGS, false);
    enum err err = pflag_parse(flags, words + 1, count - 1, &why);
    const char *wrong = NULL;
    if (err == ERR_NOT_FOUND) {
        wrong = "pflag: help requested";
    } else if (err != ERR_OK) {
        wrong = buf_cstr(&why);
    } else {
        wrong = parse_ask(run, words + 1, count - 1, flags, &ask);
    }
    if (wrong != NULL) {
        over(run, ctl__fail(ctl, CTL_BAD_ARGS, "%s", wrong));
    } else {
        wrong = start(run, &ask);
        if (wrong != NULL) {
            bad_line(ctl, "Invalid command ", line, wrong);
        }
    }
    buf_fini(&why);
    pflag_set_free(&flags);
}

static void command_line(struct watch_run *run, struct slice line)
{
    struct ctl *ctl = run->ctl;
    const char **words = NULL;
    size_t count = 0;
    struct buf why = {0};
    int code = txn_parse_words(&ctl->arena, line, &words, &count, &why);
    if (code != CTL_OK) {
        over(run, ctl__fail_text(ctl, code, buf_slice(&why)));
    } else if (count == 0) {
        bad_line(ctl, "Invalid command: ", line, "watch and progress supported");
    } else if (strcmp(words[0], "watch") == 0) {
        watch_line(run, line, words, count);
    } else if (strcmp(words[0], "progress") == 0) {
        client_watcher_progress(run->watcher);
    } else {
        bad_line(ctl, "Invalid command ", line, "only support watch");
    }
    buf_fini(&why);
}

static void read_line(struct watch_run *run)
{
    struct ctl *ctl = run->ctl;
    struct buf line = {0};
    enum err err = ctl__read_line(ctl, WATCH_LINE_MAX, &line);
    if (err == ERR_OK) {
        line.len--;
        struct slice kept = slice_of(arena_dup(&ctl->arena, line.data, line.len), line.len);
        command_line(run, kept);
    } else {
        over(run, ctl__fail(ctl, CTL_INVALID_INPUT, "error reading watch request line: %s",
                            err == ERR_EOF ? "EOF" : "the line is too long"));
    }
    buf_fini(&line);
}

static void input_ready(void *arg)
{
    struct watch_run *run = arg;
    run->input_ready = true;
}

/* Is there something to read, or something else to do first? Asks to be told of input once. */
static bool has_input(struct watch_run *run, bool *is_awaited)
{
    const struct ctl_terminal *terminal = run->ctl->terminal;
    if (memchr(run->ctl->in.data == NULL ? "" : (const void *)run->ctl->in.data, '\n',
               run->ctl->in.len) != NULL) {
        return true;
    }
    if (!*is_awaited) {
        run->input_ready = terminal->await_input == NULL ||
                           !terminal->await_input(terminal->ctx, run->ctl->env, input_ready, run);
        *is_awaited = true;
    }
    return run->input_ready;
}

/* ---- the command ------------------------------------------------------------------------- */

static void watch_until_over(struct watch_run *run)
{
    bool is_interactive = pflag_bool(run->call->flags, "interactive");
    bool is_awaited = false;
    while (!run->is_over || !list_empty(&run->jobs)) {
        if (!list_empty(&run->jobs)) {
            work_off(run);
        } else if (is_interactive && has_input(run, &is_awaited)) {
            read_line(run);
            is_awaited = false;
            loop_turn(run->ctl->loop, false);
        } else {
            loop_turn(run->ctl->loop, true);
        }
        if (run->is_over && run->code != CTL_INTERRUPTED) {
            break;
        }
    }
}

static void run_fini(struct watch_run *run)
{
    for (struct list *node = list_pop(&run->watches); node != NULL;
         node = list_pop(&run->watches)) {
        struct ctl_watch *watch = CONTAINER_OF(node, struct ctl_watch, link);
        client_watch_free(&watch->watch);
        arena_fini(&watch->arena);
        mem_free(watch);
    }
    for (struct list *node = list_pop(&run->jobs); node != NULL; node = list_pop(&run->jobs)) {
        job_free(CONTAINER_OF(node, struct watch_job, link));
    }
    client_watcher_free(&run->watcher);
}

/* The first occurrence counts, as with getenv(). */
static const char *variable(const struct ctl *ctl, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; ctl->environment[i] != NULL; i++) {
        if (strncmp(ctl->environment[i], name, len) == 0 && ctl->environment[i][len] == '=') {
            return ctl->environment[i] + len + 1;
        }
    }
    return "";
}

int ctl__watch_run(const struct command_call *call)
{
    struct ctl *ctl = ctl_of(call);
    struct watch_run run = {.call = call, .ctl = ctl};
    struct watch_ask ask = {0};
    const char *wrong = NULL;
    bool is_interactive = pflag_bool(call->flags, "interactive");
    list_init(&run.watches);
    list_init(&run.jobs);
    run.env_key = variable(ctl, "ETCDCTL_WATCH_KEY");
    run.env_range = variable(ctl, "ETCDCTL_WATCH_RANGE_END");
    if (run.env_key[0] == 0 && run.env_range[0] != 0) {
        struct buf why = {0};
        buf_append_str(&why, "ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END=");
        go_quote(slice_str(run.env_range), &why);
        int code = ctl__fail_text(ctl, CTL_BAD_ARGS, buf_slice(&why));
        buf_fini(&why);
        return code;
    }
    if (!is_interactive) {
        wrong = parse_ask(&run, call->raw_args, call->raw_count, call->flags, &ask);
        if (wrong != NULL) {
            return ctl__fail(ctl, CTL_BAD_ARGS, "%s", wrong);
        }
    }
    int code = ctl__open(ctl, call);
    if (code != CTL_OK) {
        return code;
    }
    run.watcher = client_watcher_new(ctl->client, true);
    wrong = is_interactive ? NULL : start(&run, &ask);
    if (wrong != NULL) {
        run.code = ctl__fail(ctl, CTL_BAD_ARGS, "%s", wrong);
    } else {
        watch_until_over(&run);
    }
    run_fini(&run);
    if (run.code == CTL_INTERRUPTED) {
        return ctl__fail(ctl, run.code, "watch is canceled by the server");
    }
    return run.code;
}
