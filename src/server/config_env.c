/* Variables ETCD_SOME_FLAG, for flags that the command line does not give. */
#include "server/config_priv.h"

#include <stdlib.h>

#define PREFIX "ETCD_"

const char *config__env_name(const struct config *config, const char *flag)
{
    char *name = arena_printf(&config->priv->arena, PREFIX "%s", flag);
    for (char *at = name; *at != 0; at++) {
        if (*at == '-') {
            *at = '_';
        } else if (*at >= 'a' && *at <= 'z') {
            *at = (char)(*at - 'a' + 'A');
        }
    }
    return name;
}

const char *config__getenv(const struct config *config, const char *name)
{
    const char *const *environ = config->priv->in->environ;
    size_t len = strlen(name);
    for (size_t i = 0; environ != NULL && environ[i] != NULL; i++) {
        if (strncmp(environ[i], name, len) == 0 && environ[i][len] == '=') {
            const char *value = environ[i] + len + 1;
            return value[0] == 0 ? NULL : value;
        }
    }
    return NULL;
}

/* Flags in order of name, as Go visits them: lines and the error that counts depend on it. */
static int by_name(const void *a, const void *b)
{
    const struct config_row *const *left = a;
    const struct config_row *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

struct variable {
    const char *name;
    bool is_used;
    bool is_shadowed; /* the flag was given */
};

static enum err set_from(struct config *config, const struct config_row *row,
                         struct variable *variable, struct errbuf *why)
{
    struct config_priv *priv = config->priv;
    size_t index = config__row_index(row);
    variable->name = config__env_name(config, row->name);
    variable->is_shadowed = priv->given[index];
    const char *value = config__getenv(config, variable->name);
    if (variable->is_shadowed || value == NULL) {
        return ERR_OK;
    }
    variable->is_used = true;
    if (config__set_text(config, row, value, why) != ERR_OK) {
        return err_wrap(why, ERR_INVALID, "invalid value %s for %s", config__quote(config, value),
                        variable->name);
    }
    priv->given[index] = true;
    LOG_INFO(&priv->early, "recognized and used environment variable",
             log_str("variable-name", variable->name), log_str("variable-value", value));
    return ERR_OK;
}

static const struct variable *find(const struct variable *variables, size_t count,
                                   struct slice name)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_eq_str(name, variables[i].name)) {
            return &variables[i];
        }
    }
    return NULL;
}

/* Looks at every variable there is: conflicts stop us, unknown names of ours are pointed out. */
static enum err verify(const struct config *config, const struct variable *variables, size_t count)
{
    const struct config_priv *priv = config->priv;
    const char *const *environ = priv->in->environ;
    for (size_t i = 0; environ != NULL && environ[i] != NULL; i++) {
        const char *text = environ[i];
        struct slice name;
        slice_split(slice_str(text), '=', &name);
        if (name.len == strlen(text)) {
            LOG_WARN(&priv->early, "found invalid environment variable",
                     log_str("environment-variable", text));
        }
        const struct variable *variable = find(variables, count, name);
        if (slice_eq_str(name, PREFIX "VERSION") || (variable != NULL && variable->is_used)) {
            continue;
        }
        if (variable != NULL && variable->is_shadowed) {
            LOG_FATAL(&priv->early,
                      "conflicting environment variable is shadowed by corresponding command-line "
                      "flag (either unset environment variable or disable flag))",
                      log_slice("environment-variable", name));
            return ERR_CANCELED;
        }
        if (strncmp(text, PREFIX, strlen(PREFIX)) == 0) {
            LOG_WARN(&priv->early, "unrecognized environment variable",
                     log_str("environment-variable", text));
        }
    }
    return ERR_OK;
}

FALLIBLE config__from_env(struct config *config, struct errbuf *why)
{
    struct config_priv *priv = config->priv;
    const struct config_row *rows[CONFIG_ROWS_MAX];
    struct variable *variables = arena_zalloc(&priv->arena, config__row_count * sizeof(*variables));
    const char *version = config__getenv(config, PREFIX "VERSION");
    enum err failed = ERR_OK;
    if (version != NULL) {
        LOG_WARN(&priv->early, "cannot set special environment variable",
                 log_str("key", PREFIX "VERSION"), log_str("value", version));
    }
    for (size_t i = 0; i < config__row_count; i++) {
        rows[i] = &config__rows[i];
    }
    qsort(rows, config__row_count, sizeof(rows[0]), by_name);
    for (size_t i = 0; i < config__row_count; i++) {
        if (set_from(config, rows[i], &variables[i], why) != ERR_OK) {
            failed = ERR_INVALID; /* etcd goes on; the last failure counts */
        }
    }
    TRY(verify(config, variables, config__row_count));
    return failed;
}
