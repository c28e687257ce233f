/* A run: one arena, one loop, at most one client at a time. Commands are written top to bottom and
 * wait for their calls by turning the loop; nothing else happens meanwhile, so that is no loss. */
#include "ctl/ctl_priv.h"

#include "client/client_rpc.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- output and input ------------------------------------------------------------------ */

static void write_out(struct ctl *ctl, enum ctl_stream stream, struct buf *text)
{
    if (text->len > 0) {
        ctl->terminal->write(ctl->terminal->ctx, stream, buf_slice(text));
        buf_reset(text);
    }
}

void ctl__flush(struct ctl *ctl)
{
    write_out(ctl, CTL_STDOUT, &ctl->out);
    write_out(ctl, CTL_STDERR, &ctl->err);
}

int ctl__fail_text(struct ctl *ctl, int code, struct slice sentence)
{
    buf_append_str(&ctl->err, "Error: ");
    buf_append_slice(&ctl->err, sentence);
    buf_append_byte(&ctl->err, '\n');
    ctl__flush(ctl);
    return code;
}

int ctl__fail(struct ctl *ctl, int code, const char *format, ...)
{
    struct errbuf sentence;
    va_list args;
    va_start(args, format);
    vsnprintf(sentence.text, sizeof(sentence.text), format, args);
    va_end(args);
    return ctl__fail_text(ctl, code, slice_str(sentence.text));
}

static void print(void *ctx, struct slice text)
{
    struct ctl *ctl = ctx;
    buf_append_slice(&ctl->out, text);
    ctl__flush(ctl);
}

static void print_error(void *ctx, struct slice text)
{
    struct ctl *ctl = ctx;
    buf_append_slice(&ctl->err, text);
    ctl__flush(ctl);
}

static void log_sink(void *ctx, enum log_level level, struct slice line)
{
    (void)level;
    print_error(ctx, line);
}

static int64_t log_clock(void *ctx)
{
    struct ctl *ctl = ctx;
    return env_now_wall(ctl->env);
}

#define READ_LEN 65536

/* More of standard input behind what is there; false at its end. */
static bool read_more(struct ctl *ctl)
{
    ctl__flush(ctl);
    uint8_t *at = buf_reserve(&ctl->in, READ_LEN);
    size_t got = ctl->terminal->read(ctl->terminal->ctx, at, READ_LEN);
    ASSERT(got <= READ_LEN);
    ctl->in.len += got;
    return got > 0;
}

enum err ctl__read_line(struct ctl *ctl, size_t limit, struct buf *out)
{
    size_t looked = 0;
    for (;;) {
        const uint8_t *end = NULL;
        if (ctl->in.len > looked) {
            end = memchr(ctl->in.data + looked, '\n', ctl->in.len - looked);
        }
        if (end != NULL) {
            size_t len = (size_t)(end - ctl->in.data) + 1;
            buf_append(out, ctl->in.data, len);
            buf_consume(&ctl->in, len);
            return ERR_OK;
        }
        looked = ctl->in.len;
        if (looked > limit) {
            return ERR_TOO_LARGE;
        }
        if (!read_more(ctl)) {
            return ERR_EOF;
        }
    }
}

/* Everything up to the end of standard input; a value over what any server takes is read on, so
 * that the server's own words refuse it, but not without bound. */
#define STDIN_MAX ((size_t)1 << 30)

static void read_all(void *ctx, struct buf *out)
{
    struct ctl *ctl = ctx;
    while (ctl->in.len < STDIN_MAX && read_more(ctl)) {
    }
    buf_append_slice(out, buf_slice(&ctl->in));
    buf_reset(&ctl->in);
}

/* ---- waiting --------------------------------------------------------------------------- */

void ctl__wait(struct ctl *ctl, const bool *done)
{
    while (!*done) {
        loop_turn(ctl->loop, true);
    }
}

struct nap {
    struct timer timer;
    bool is_over;
};

static void nap_over(struct timer *timer)
{
    CONTAINER_OF(timer, struct nap, timer)->is_over = true;
}

void ctl__sleep(struct ctl *ctl, uint64_t ns)
{
    struct nap nap = {0};
    ctl__flush(ctl);
    timer_init(&nap.timer, nap_over);
    timer_start(ctl->loop, &nap.timer, env_now_mono(ctl->env) + ns);
    ctl__wait(ctl, &nap.is_over);
}

/* ---- calls ----------------------------------------------------------------------------- */

struct waiting_call {
    struct client_call call;
    struct ctl *ctl;
    struct ctl_rpc *rpc;
    bool is_over;
};

bool ctl__decode(struct ctl *ctl, const ProtobufCMessageDescriptor *type, struct slice bytes,
                 void **out, const char **error_out)
{
    struct errbuf why = {{0}};
    /* bytes fields stay where they are read: the arena has to keep them. */
    struct slice kept = slice_of(arena_dup(&ctl->arena, bytes.data, bytes.len), bytes.len);
    if (pb_decode_limits(&ctl->arena, type, kept, CLIENT_REPLY_LIMITS, out, &why) == ERR_OK) {
        return true;
    }
    *error_out = arena_printf(&ctl->arena,
                              "rpc error: code = Internal desc = grpc: failed to unmarshal the "
                              "received message: %s",
                              why.text);
    return false;
}

static void call_over(struct client_call *call, const struct client_result *result,
                      struct slice reply)
{
    struct waiting_call *waiting = CONTAINER_OF(call, struct waiting_call, call);
    struct ctl_rpc *rpc = waiting->rpc;
    rpc->status = result->status;
    rpc->error = arena_printf(&waiting->ctl->arena, "%s", result->error);
    if (result->status == GRPC_OK &&
        !ctl__decode(waiting->ctl, rpc->reply_type, reply, &rpc->reply, &rpc->error)) {
        rpc->status = GRPC_INTERNAL;
    }
    waiting->is_over = true;
}

mono_ns ctl__deadline(const struct ctl *ctl)
{
    return env_now_mono(ctl->env) + ctl->command_timeout_ns;
}

bool ctl__call(struct ctl *ctl, struct client *client, struct ctl_rpc *rpc)
{
    struct waiting_call waiting = {.ctl = ctl, .rpc = rpc};
    rpc->reply = NULL;
    waiting.call.path = rpc->path;
    waiting.call.request = pb_encode_arena(rpc->request, &ctl->arena);
    waiting.call.deadline = rpc->deadline;
    waiting.call.is_repeatable = rpc->is_repeatable;
    waiting.call.done = call_over;
    client_call_start(client, &waiting.call);
    ctl__wait(ctl, &waiting.is_over);
    return rpc->status == GRPC_OK;
}

struct waiting_login {
    struct ctl *ctl;
    const char *error; /* NULL: none */
    bool is_over;
};

static void login_over(struct client *client, const struct client_result *result, void *ctx)
{
    struct waiting_login *waiting = ctx;
    (void)client;
    if (result->status != GRPC_OK) {
        waiting->error = arena_printf(&waiting->ctl->arena, "%s", result->error);
    }
    waiting->is_over = true;
}

int ctl__connect_to(struct ctl *ctl, const char *const *endpoints, size_t count,
                    struct client **out)
{
    struct client_options options = ctl->options;
    options.endpoints = endpoints;
    options.endpoint_count = count;
    struct errbuf why = {{0}};
    struct client *client = NULL;
    if (client_new(ctl->env, ctl->loop, &options, &client, &why) != ERR_OK) {
        return ctl__fail(ctl, CTL_BAD_CONNECTION, "%s", why.text);
    }
    struct waiting_login waiting = {.ctl = ctl};
    client_login(client, login_over, &waiting);
    ctl__wait(ctl, &waiting.is_over);
    if (waiting.error != NULL) {
        client_free(&client);
        return ctl__fail(ctl, CTL_BAD_CONNECTION, "%s", waiting.error);
    }
    *out = client;
    return CTL_OK;
}

int ctl__connect(struct ctl *ctl)
{
    ASSERT(ctl->client == NULL);
    return ctl__connect_to(ctl, ctl->options.endpoints, ctl->options.endpoint_count, &ctl->client);
}

int ctl__open(struct ctl *ctl, const struct command_call *call)
{
    int code = ctl__setup(ctl, call);
    return code == CTL_OK ? ctl__connect(ctl) : code;
}

int ctl__shown(struct ctl *ctl, enum err err)
{
    if (err == ERR_OK) {
        return CTL_OK;
    }
    return ctl__fail(ctl, CTL_BAD_FEATURE, "%s not supported as output format",
                     print_format_name(ctl->printer.format));
}

/* ---- the run --------------------------------------------------------------------------- */

static void ctl_init(struct ctl *ctl, const char *const *environment, struct env *env,
                     const struct ctl_terminal *terminal)
{
    *ctl = (struct ctl){.env = env, .terminal = terminal, .environment = environment};
    arena_init(&ctl->arena);
    ctl->loop = loop_new(env);
    ctl->input = (struct kv_input){.read_all = read_all, .ctx = ctl};
    struct log_options options = {
        .level = LOG_LEVEL_INFO,
        .format = LOG_FORMAT_JSON,
        .local_time = true,
        .clock = log_clock,
        .clock_ctx = ctl,
        .sinks = {{.fn = log_sink, .ctx = ctl}},
        .sink_count = 1,
    };
    ctl->log_core = log_core_new(&options);
    ctl->log = log_handle(ctl->log_core, NULL);
}

static void ctl_fini(struct ctl *ctl)
{
    ctl__flush(ctl);
    client_free(&ctl->client);
    loop_free(&ctl->loop);
    log_core_free(&ctl->log_core);
    buf_fini(&ctl->out);
    buf_fini(&ctl->err);
    buf_fini(&ctl->in);
    arena_fini(&ctl->arena);
}

int ctl__main(const struct command *root, int argc, const char *const *argv,
              const char *const *environment, struct env *env, const struct ctl_terminal *terminal)
{
    struct ctl ctl;
    ctl_init(&ctl, environment, env, terminal);
    struct command_program program = {
        .root = root,
        .version = CTL_VERSION,
        .api_version = CTL_API_VERSION,
        .print = print,
        .print_error = print_error,
        .ctx = &ctl,
    };
    size_t count = argc > 1 ? (size_t)argc - 1 : 0;
    int code = command_execute(&program, argv + (argc > 0), count);
    ctl_fini(&ctl);
    return code;
}

int ctl_main(int argc, const char *const *argv, const char *const *environment, struct env *env,
             const struct ctl_terminal *terminal)
{
    return ctl__main(&ctl__root, argc, argv, environment, env, terminal);
}
