/* Global flags, from the command line and from the environment, and what they make.
 *
 * The environment is read when a command is about to connect, as in etcdctl: a command line that is
 * wrong is refused before a variable that is. */
#include "ctl/ctl_priv.h"

static const char *const formats[] = {"fields", "json", "protobuf", "simple", "table", NULL};

const struct pflag_spec ctl__global_flags[CTL_GLOBAL_FLAGS] = {
    {"cacert", 0, PFLAG_STRING, "", "trust servers whose certificates these authorities signed",
     NULL},
    {"cert", 0, PFLAG_STRING, "", "certificate file to show to servers", NULL},
    {"command-timeout", 0, PFLAG_DURATION, "5s", "how long a short command may take", NULL},
    {"debug", 0, PFLAG_BOOL, "false", "print the global flags and log more", NULL},
    {"dial-timeout", 0, PFLAG_DURATION, "2s", "how long to wait for a connection", NULL},
    {"discovery-srv", 'd', PFLAG_STRING, "", "domain whose SRV records name the endpoints", NULL},
    {"discovery-srv-name", 0, PFLAG_STRING, "", "suffix of the service's name in those records",
     NULL},
    {"endpoints", 0, PFLAG_STRINGS, "127.0.0.1:2379",
     "addresses of the servers, with commas between them", NULL},
    {"hex", 0, PFLAG_BOOL, "false", "print bytes and ids in hexadecimal", NULL},
    {"insecure-discovery", 0, PFLAG_BOOL, "true", "take SRV records of servers without TLS too",
     NULL},
    {"insecure-skip-tls-verify", 0, PFLAG_BOOL, "false",
     "do not check the certificates of servers (for tests only: nothing is secure then)", NULL},
    {"insecure-transport", 0, PFLAG_BOOL, "true",
     "connect without TLS where no scheme says otherwise", NULL},
    {"keepalive-time", 0, PFLAG_DURATION, "2s",
     "how long a connection may be silent before it is tested", NULL},
    {"keepalive-timeout", 0, PFLAG_DURATION, "6s", "how long to wait for the answer to such a test",
     NULL},
    {"key", 0, PFLAG_STRING, "", "key file that belongs to --cert", NULL},
    {"max-recv-bytes", 0, PFLAG_INT64, "0", "largest answer to take, in bytes (0: 2147483647)",
     NULL},
    {"max-request-bytes", 0, PFLAG_INT64, "0", "largest request to send, in bytes (0: 2 MiB)",
     NULL},
    {"password", 0, PFLAG_STRING, "", "password, when --user holds the name alone", NULL},
    {"user", 0, PFLAG_STRING, "",
     "name[:password] to log in with; asks for a password that is not there", NULL},
    {"write-out", 'w', PFLAG_STRING, "simple",
     "output format: fields, json, protobuf, simple or table", formats},
};

/* ---- environment ----------------------------------------------------------------------- */

#define ENV_PREFIX "ETCDCTL_"

/* "dial-timeout" as ETCDCTL_DIAL_TIMEOUT. */
static void env_name(const char *flag, struct buf *out)
{
    buf_append_str(out, ENV_PREFIX);
    for (; *flag != 0; flag++) {
        char c = *flag;
        c = c == '-' ? '_' : c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
        buf_append_byte(out, (uint8_t)c);
    }
}

/* The inherited flag that a variable's name stands for, or NULL. */
static struct pflag *env_flag(const struct pflag_set *flags, struct slice name)
{
    struct buf candidate = {0};
    struct pflag *found = NULL;
    for (size_t i = 0; i < pflag_count(flags) && found == NULL; i++) {
        struct pflag *flag = pflag_at(flags, i);
        buf_reset(&candidate);
        env_name(flag->spec->name, &candidate);
        if (flag->is_inherited && slice_eq(buf_slice(&candidate), name)) {
            found = flag;
        }
    }
    buf_fini(&candidate);
    return found;
}

/* Is the variable's first occurrence further up? Only that one counts, as with getenv(). */
static bool env_seen(const char *const *environment, size_t index, struct slice name)
{
    for (size_t i = 0; i < index; i++) {
        struct slice other;
        slice_split(slice_str(environment[i]), '=', &other);
        if (slice_eq(other, name)) {
            return true;
        }
    }
    return false;
}

int ctl__read_environment(struct ctl *ctl, struct pflag_set *flags)
{
    struct buf ignored = {0};
    int code = CTL_OK;
    for (size_t i = 0; ctl->environment[i] != NULL && code == CTL_OK; i++) {
        const char *line = ctl->environment[i];
        struct slice name;
        struct slice value = slice_split(slice_str(line), '=', &name);
        if (!slice_starts(name, SLICE(ENV_PREFIX)) || env_seen(ctl->environment, i, name)) {
            continue;
        }
        if (slice_eq_str(name, "ETCDCTL_WATCH_KEY") ||
            slice_eq_str(name, "ETCDCTL_WATCH_RANGE_END")) {
            continue; /* of the watch command */
        }
        struct pflag *flag = env_flag(flags, name);
        if (flag == NULL || (value.len == 0 && !flag->changed)) {
            LOG_WARN(&ctl->log, "unrecognized environment variable",
                     log_str("environment-variable", line));
        } else if (flag->changed) {
            LOG_FATAL(&ctl->log,
                      "conflicting environment variable is shadowed by corresponding command-line "
                      "flag (either unset environment variable or disable flag))",
                      log_slice("environment-variable", name));
            code = CTL_ERROR;
        } else if (pflag_set_value(flags, flag, (const char *)value.data, &ignored) != ERR_OK) {
            buf_reset(&ignored); /* as in etcdctl: the flag keeps its initial value */
        }
    }
    buf_fini(&ignored);
    return code;
}

/* ---- flags ----------------------------------------------------------------------------- */

static void show_flags(struct ctl *ctl, const struct pflag_set *flags)
{
    for (size_t i = 0; i < pflag_count(flags); i++) {
        const struct pflag *flag = pflag_at(flags, i);
        if (flag->is_inherited) {
            env_name(flag->spec->name, &ctl->err);
            buf_append_byte(&ctl->err, '=');
            pflag_format(flag, &ctl->err);
            buf_append_byte(&ctl->err, '\n');
        }
    }
    ctl__flush(ctl);
}

/* The list of endpoints without blanks around them. */
static void set_endpoints(struct ctl *ctl, const struct pflag_set *flags)
{
    const struct pflag *flag = pflag_find(flags, SLICE("endpoints"));
    const char **endpoints = arena_alloc(&ctl->arena, (flag->list.count + 1) * sizeof(*endpoints));
    for (size_t i = 0; i < flag->list.count; i++) {
        const char *start = flag->list.items[i] + strspn(flag->list.items[i], " \t\r\n\v\f");
        size_t len = strlen(start);
        while (len > 0 && strchr(" \t\r\n\v\f", start[len - 1]) != NULL) {
            len--;
        }
        endpoints[i] = arena_strndup(&ctl->arena, start, len);
    }
    ctl->options.endpoints = endpoints;
    ctl->options.endpoint_count = flag->list.count;
}

/* grpc-go does not ping more often. */
#define KEEPALIVE_MIN_NS (10 * NS_PER_SEC)

static uint64_t positive(int64_t number)
{
    return number > 0 ? (uint64_t)number : 0;
}

static void set_limits(struct ctl *ctl, const struct pflag_set *flags)
{
    uint64_t keepalive = positive(pflag_i64(flags, "keepalive-time"));
    ctl->options.keepalive_ns =
        keepalive > 0 && keepalive < KEEPALIVE_MIN_NS ? KEEPALIVE_MIN_NS : keepalive;
    ctl->options.keepalive_timeout_ns = positive(pflag_i64(flags, "keepalive-timeout"));
    ctl->options.dial_timeout_ns = positive(pflag_i64(flags, "dial-timeout"));
    ctl->command_timeout_ns = positive(pflag_i64(flags, "command-timeout"));
    ctl->options.request_max = positive(pflag_i64(flags, "max-request-bytes"));
    ctl->options.reply_max = positive(pflag_i64(flags, "max-recv-bytes"));
}

static int set_security(struct ctl *ctl, const struct pflag_set *flags)
{
    static const char *const files[] = {"cert", "key", "cacert"};
    if (pflag_str(flags, "discovery-srv")[0] != 0) {
        return ctl__fail(ctl, CTL_ERROR,
                         "--discovery-srv: finding endpoints by DNS is not built into this "
                         "program yet; name them with --endpoints");
    }
    bool wants_tls =
        !pflag_bool(flags, "insecure-transport") || pflag_bool(flags, "insecure-skip-tls-verify");
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        bool is_given = pflag_str(flags, files[i])[0] != 0;
        if (!is_given && pflag_changed(flags, files[i])) {
            return ctl__fail(ctl, CTL_BAD_ARGS, "empty string is passed to --%s option", files[i]);
        }
        wants_tls = wants_tls || is_given;
    }
    ctl->options.wants_tls = wants_tls;
    return CTL_OK;
}

static int ask_password(struct ctl *ctl, const char **out)
{
    struct buf password = {0};
    struct errbuf why = {{0}};
    int code = CTL_OK;
    buf_append_str(&ctl->out, "Password: ");
    ctl__flush(ctl);
    enum err err = ctl->terminal->read_password == NULL
                       ? errf(&why, ERR_IO, "no terminal to ask for the password: use --password")
                       : ctl->terminal->read_password(ctl->terminal->ctx, &password, &why);
    buf_append_byte(&ctl->out, '\n');
    if (err == ERR_OK) {
        *out = arena_strndup(&ctl->arena, buf_cstr(&password), password.len);
    } else {
        code = ctl__fail(ctl, CTL_ERROR, "%s", why.text);
    }
    buf_fini(&password);
    return code;
}

static int set_user(struct ctl *ctl, const struct pflag_set *flags)
{
    const char *user = pflag_str(flags, "user");
    const char *password = pflag_str(flags, "password");
    const char *colon = strchr(user, ':');
    ctl->options.username = user;
    ctl->options.password = password;
    if (user[0] == 0 || password[0] != 0) {
        return CTL_OK;
    }
    if (colon == NULL) {
        return ask_password(ctl, &ctl->options.password);
    }
    ctl->options.username = arena_strndup(&ctl->arena, user, (size_t)(colon - user));
    ctl->options.password = colon + 1;
    return CTL_OK;
}

int ctl__setup(struct ctl *ctl, const struct command_call *call)
{
    struct pflag_set *flags = call->flags;
    int code = ctl__read_environment(ctl, flags);
    if (code != CTL_OK) {
        return code;
    }
    if (pflag_bool(flags, "debug")) {
        show_flags(ctl, flags);
        log_level_set(ctl->log_core, LOG_LEVEL_DEBUG);
    }
    ctl->log.name = "etcd-client";
    ctl->options.log = &ctl->log;
    set_endpoints(ctl, flags);
    set_limits(ctl, flags);
    code = set_security(ctl, flags);
    if (code == CTL_OK) {
        code = set_user(ctl, flags);
    }
    enum print_format format = PRINT_SIMPLE;
    if (code == CTL_OK && print_format_parse(pflag_str(flags, "write-out"), &format) != ERR_OK) {
        code = ctl__fail(ctl, CTL_BAD_FEATURE, "unsupported output format");
    }
    printer_init(&ctl->printer, format, pflag_bool(flags, "hex"), &ctl->out, &ctl->err);
    return code;
}
