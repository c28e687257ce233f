/* The way from a command line to a configuration, in etcd's order: what is printed and logged, and
 * which of two mistakes is reported, follow from it. */
#include "server/config_priv.h"

#include "base/gotext.h"

#include <stdio.h>

#define WARNING_UNARY_DEFAULT_NS (300 * GO_NS_PER_MS)

#ifndef ETCDC_GIT_SHA
#define ETCDC_GIT_SHA "Not provided"
#endif

#if defined(__x86_64__)
#define ARCH "amd64"
#elif defined(__aarch64__)
#define ARCH "arm64"
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define ARCH "ppc64le"
#elif defined(__s390x__)
#define ARCH "s390x"
#elif defined(__i386__)
#define ARCH "386"
#elif defined(__arm__)
#define ARCH "arm"
#elif defined(__riscv)
#define ARCH "riscv64"
#else
#define ARCH "unknown"
#endif

const char *config_git_sha(void)
{
    return ETCDC_GIT_SHA;
}

const char *config_os(void)
{
    return "linux";
}

const char *config_arch(void)
{
    return ARCH;
}

struct log config_log(const struct config *config)
{
    const struct config_priv *priv = config->priv;
    return priv->logging == NULL ? priv->early : log_handle(logging_core(priv->logging), NULL);
}

void config__print_out(const struct config *config, struct slice text)
{
    const struct log_sink *sink = &config->priv->in->standard_out;
    sink->fn(sink->ctx, LOG_LEVEL_INFO, text);
}

void config__print_err(const struct config *config, struct slice text)
{
    const struct log_sink *sink = &config->priv->in->standard_error;
    sink->fn(sink->ctx, LOG_LEVEL_ERROR, text);
}

/* ---- life cycle
 * ---------------------------------------------------------------------------------- */

static enum err set_bound(const struct goflag *flag, const char *value, struct errbuf *why)
{
    const struct config_binding *binding = flag->target;
    return config__set_text(binding->config, binding->row, value, why);
}

/* Kinds that goflag knows itself; the others go through set_bound(). */
static enum goflag_kind flag_kind(enum config_kind kind)
{
    switch (kind) {
    case CONFIG_KIND_BOOL:
    case CONFIG_KIND_GATE:
        return GOFLAG_BOOL;
    case CONFIG_KIND_INT:
        return GOFLAG_INT;
    case CONFIG_KIND_UINT:
        return GOFLAG_UINT;
    case CONFIG_KIND_UINT32:
        return GOFLAG_UINT32;
    case CONFIG_KIND_DURATION:
        return GOFLAG_DURATION;
    case CONFIG_KIND_STRING:
        return GOFLAG_STRING;
    case CONFIG_KIND_URLS:
    case CONFIG_KIND_CORS:
    case CONFIG_KIND_SET:
    case CONFIG_KIND_WORDS:
    case CONFIG_KIND_STATE:
    case CONFIG_KIND_FALLBACK:
    case CONFIG_KIND_V2:
    case CONFIG_KIND_GATES:
    case CONFIG_KIND_IGNORED:
        return GOFLAG_FUNC;
    }
    UNREACHABLE();
}

static void bind_flags(struct config *config)
{
    struct config_priv *priv = config->priv;
    for (size_t i = 0; i < config__row_count; i++) {
        const struct config_row *row = &config__rows[i];
        struct goflag *flag = &priv->flags[i];
        priv->bindings[i] = (struct config_binding){.row = row, .config = config};
        flag->name = row->name;
        flag->kind = flag_kind(row->kind);
        flag->target = config__place(config, row);
        if (flag->kind == GOFLAG_FUNC) {
            flag->fn = set_bound;
            flag->target = &priv->bindings[i];
            flag->is_bool_func = row->kind == CONFIG_KIND_IGNORED;
        }
    }
    size_t count = config__row_count;
    priv->flags[count++] = (struct goflag){
        .name = "config-file", .kind = GOFLAG_STRING, .target = &config->config_file};
    priv->flags[count++] =
        (struct goflag){.name = "version", .kind = GOFLAG_BOOL, .target = &priv->wants_version};
    priv->set = goflag_new(priv->flags, count);
}

static struct config *config_new(const struct config_input *in)
{
    struct config *config = NEW(struct config);
    struct config_priv *priv = NEW(struct config_priv);
    struct log_options early = {
        .level = LOG_LEVEL_INFO,
        .local_time = in->local_time,
        .clock = in->clock,
        .clock_ctx = in->clock_ctx,
        .sinks = {in->standard_error},
        .sink_count = 1,
    };
    config->priv = priv;
    config->config_file = "";
    config->gates_text = "";
    priv->in = in;
    arena_init(&priv->arena);
    priv->early_core = log_core_new(&early);
    priv->early = log_handle(priv->early_core, NULL);
    bind_flags(config);
    config__set_defaults(config);
    memset(priv->gates, 0, sizeof(priv->gates));
    return config;
}

void config_free(struct config **config)
{
    if (*config == NULL) {
        return;
    }
    struct config_priv *priv = (*config)->priv;
    goflag_free(&priv->set);
    logging_close(&priv->logging);
    log_core_free(&priv->early_core);
    arena_fini(&priv->arena);
    mem_free(priv);
    mem_free(*config);
    *config = NULL;
}

/* ---- things that are said and done
 * --------------------------------------------------------------- */

static void print_version(const struct config *config)
{
    struct buf text = {0};
    buf_printf(&text,
               "etcd Version: " CONFIG_ETCD_VERSION "\n"
               "Git SHA: %s\n"
               "Go Version: none\n"
               "Go OS/Arch: %s/%s\n"
               "etcd.c Version: " CONFIG_OWN_VERSION "\n",
               config_git_sha(), config_os(), config_arch());
    config__print_out(config, buf_slice(&text));
    buf_fini(&text);
}

/* A wrong flag: Go's sentence and the usage. */
static void print_usage(const struct config *config, const char *sentence)
{
    struct buf text = {0};
    if (sentence != NULL) {
        buf_append_str(&text, sentence);
        buf_append_byte(&text, '\n');
    }
    config__usage(&text);
    config__print_err(config, buf_slice(&text));
    buf_fini(&text);
}

static void print_help(const struct config *config)
{
    struct buf text = {0};
    print_usage(config, NULL);
    config__help(&text);
    config__print_out(config, buf_slice(&text));
    buf_fini(&text);
}

/* `etcd gateway` and `etcd grpc-proxy`. */
static bool refuse_command(const struct config *config)
{
    static const struct {
        const char *name;
        const char *sentence;
    } commands[] = {
        {"gateway", "etcd gateway: the TCP gateway is not built yet; connect to the members "
                    "themselves\n"},
        {"grpc-proxy", "etcd grpc-proxy: the gRPC proxy is not built yet; connect to the members "
                       "themselves\n"},
    };
    const struct config_input *in = config->priv->in;
    for (size_t i = 0; in->argc > 1 && i < ARRAY_LEN(commands); i++) {
        if (strcmp(in->argv[1], commands[i].name) == 0) {
            config__print_err(config, slice_str(commands[i].sentence));
            return true;
        }
    }
    return false;
}

static bool is_arch_supported(const struct config *config)
{
    static const char *const supported[] = {"amd64", "arm64", "ppc64le", "s390x"};
    const struct log *log = &config->priv->early;
    for (size_t i = 0; i < ARRAY_LEN(supported); i++) {
        if (strcmp(supported[i], config_arch()) == 0) {
            return true;
        }
    }
    const char *allowed = config__getenv(config, "ETCD_UNSUPPORTED_ARCH");
    if (allowed != NULL && strcmp(allowed, config_arch()) == 0) {
        LOG_INFO(log, "running etcd on unsupported architecture since ETCD_UNSUPPORTED_ARCH is set",
                 log_str("arch", allowed));
        return true;
    }
    LOG_ERROR(log,
              "Refusing to run etcd on unsupported architecture since ETCD_UNSUPPORTED_ARCH is "
              "not set",
              log_str("arch", config_arch()));
    return false;
}

/* ---- sources
 * ---------------------------------------------------------------------------------------- */

static void raise_timeout(struct config *config, const char *name, int64_t *place)
{
    char message[96];
    if (*place >= CONFIG_PEER_TIMEOUT_MIN_NS) {
        return;
    }
    *place = CONFIG_PEER_TIMEOUT_MIN_NS;
    snprintf(message, sizeof(message), "%s increased to minimum value: 5s", name);
    LOG_INFO(&config->priv->early, message);
}

static enum err from_command_line(struct config *config, struct errbuf *why)
{
    TRY(config__from_env(config, why));
    raise_timeout(config, "raft-read-timeout", &config->raft_read_timeout_ns);
    raise_timeout(config, "raft-write-timeout", &config->raft_write_timeout_ns);
    if (config__given(config, "listen-client-urls") &&
        !config__given(config, "advertise-client-urls")) {
        config->advertise_client_urls = (struct url_list){0};
    }
    bool discovers = config->discovery[0] != 0 || config->discovery_srv[0] != 0 ||
                     config->discovery_srv_name[0] != 0 || config->discovery_endpoints.count > 0;
    if (discovers && !config__given(config, "initial-cluster")) {
        config->initial_cluster = "";
    }
    TRY(config__gates_finish(config, why));
    if (strcmp(config->discovery_fallback, "proxy") == 0) {
        return errf(why, ERR_INVALID,
                    "v2 proxy is deprecated, and --discovery-fallback can't be configured as "
                    "\"proxy\"");
    }
    return config__validate(config, why);
}

static enum err from_file(struct config *config, struct errbuf *why)
{
    struct config_priv *priv = config->priv;
    /* Flags do not count any more: begin again from the defaults. */
    const char *path = config->config_file;
    memset(priv->given, 0, sizeof(priv->given));
    memset(priv->gates, 0, sizeof(priv->gates));
    config__set_defaults(config);
    enum err err = config__from_file(config, path, why);
    if (err == ERR_OK) {
        err = config__gates_finish(config, why);
    }
    if (err == ERR_OK) {
        err = config__validate(config, why);
    }
    if (priv->logging != NULL) {
        struct log log = config_log(config);
        LOG_INFO(&log,
                 "loaded server configuration, other configuration command line flags and "
                 "environment variables will be ignored if provided",
                 log_str("path", path));
    }
    return err;
}

/* Both names of this one default to zero, which is neither given. */
static enum err merge_warning_duration(struct config *config, struct errbuf *why)
{
    int64_t old_ns = config->priv->old.warning_unary_request_duration_ns;
    int64_t *place = &config->warning_unary_request_duration_ns;
    if (old_ns != 0 && *place != 0) {
        return errf(why, ERR_INVALID,
                    "both --experimental-warning-unary-request-duration and "
                    "--warning-unary-request-duration flags are set. Use only "
                    "--warning-unary-request-duration");
    }
    if (old_ns != 0) {
        struct log log = config_log(config);
        LOG_WARN(&log, "--experimental-warning-unary-request-duration is deprecated, and will be "
                       "decommissioned in v3.7. Use --warning-unary-request-duration instead.");
        *place = old_ns;
    }
    if (*place == 0) {
        *place = WARNING_UNARY_DEFAULT_NS;
    }
    return ERR_OK;
}

static void warn_of_deprecated(const struct config *config)
{
    struct log log = config_log(config);
    for (size_t i = 0; i < config__row_count; i++) {
        if (config->priv->given[i] && config__rows[i].warning != NULL) {
            LOG_WARN(&log, config__rows[i].warning);
        }
    }
}

/* Everything behind the command line itself. */
static enum err load(struct config *config, struct errbuf *why)
{
    struct config_priv *priv = config->priv;
    if (goflag_narg(priv->set) > 0) {
        return errf(why, ERR_INVALID, "%s is not a valid flag",
                    config__quote(config, goflag_arg(priv->set, 0)));
    }
    for (size_t i = 0; i < config__row_count; i++) {
        priv->given[i] = goflag_given(priv->set, config__rows[i].name);
    }
    if (config->config_file[0] == 0) {
        const char *path = config__getenv(config, "ETCD_CONFIG_FILE");
        config->config_file = path == NULL ? "" : path;
    }
    bool has_file = config->config_file[0] != 0;
    enum err err = has_file ? from_file(config, why) : from_command_line(config, why);
    if (err == ERR_CANCELED) {
        return err;
    }
    config__migrate(config);
    TRY(merge_warning_duration(config, why));
    warn_of_deprecated(config);
    TRY(err);
    return config__unbuilt(config, why);
}

/* ---- loading
 * ---------------------------------------------------------------------------------------- */

/* Says why the configuration does not do, as etcd's main does. */
static void log_refusal(const struct config *config, const struct errbuf *why)
{
    struct log log = config_log(config);
    LOG_WARN(&log, "failed to verify flags", log_error(why->text));
    if (strstr(why->text, "--advertise-client-urls is required") == why->text) {
        LOG_WARN(&log, "advertise client URLs are not set", log_error(why->text));
    }
}

/* CONFIG_EXIT with its status, or CONFIG_RUN. */
static enum config_verdict run(struct config *config, int *status)
{
    const struct config_input *in = config->priv->in;
    struct config_priv *priv = config->priv;
    struct errbuf why = {{0}};
    *status = 1;
    if (!is_arch_supported(config) || refuse_command(config)) {
        return CONFIG_EXIT;
    }
    int argc = in->argc > 0 ? in->argc - 1 : 0;
    enum err err = goflag_parse(priv->set, argc, in->argv + (in->argc - argc), &why);
    if (err != ERR_OK) {
        *status = err == ERR_NOT_FOUND ? 0 : 2;
        if (err == ERR_NOT_FOUND) {
            print_help(config);
        } else {
            print_usage(config, why.text);
        }
        return CONFIG_EXIT;
    }
    if (goflag_narg(priv->set) == 0 && priv->wants_version) {
        *status = 0;
        print_version(config);
        return CONFIG_EXIT;
    }
    err = load(config, &why);
    if (err == ERR_CANCELED) {
        return CONFIG_EXIT;
    }
    struct log log = config_log(config);
    LOG_INFO(&log, "Running: ", log_strs("args", in->argv, (size_t)in->argc));
    if (err != ERR_OK) {
        log_refusal(config, &why);
        return CONFIG_EXIT;
    }
    if (config__derive(config, &why) != ERR_OK) {
        LOG_FATAL(&log, "discovery failed", log_error(why.text));
        return CONFIG_EXIT;
    }
    *status = 0;
    return CONFIG_RUN;
}

enum config_verdict config_load(const struct config_input *in, struct config **out, int *status)
{
    struct config_input filled = *in;
    ASSERT(in->clock != NULL);
    ASSERT(in->disk != NULL);
    if (filled.standard_out.fn == NULL) {
        filled.standard_out.fn = logging_stdout;
    }
    if (filled.standard_error.fn == NULL) {
        filled.standard_error.fn = logging_stderr;
    }
    struct config *config = config_new(&filled);
    *out = NULL;
    enum config_verdict verdict = run(config, status);
    config->priv->in = NULL;
    if (verdict == CONFIG_EXIT) {
        config_free(&config);
    }
    *out = config;
    return verdict;
}
