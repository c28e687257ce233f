/* What etcd can do and this program cannot yet, one row a flag. A row goes when its feature comes.
 *
 * A flag stands here when accepting it would promise something that does not happen. Flags that
 * tune what is missing as a whole (learners, lease times) are taken: the missing thing itself says
 * no when it is asked for. */
#include "server/config_priv.h"

#include "base/gotext.h"

/* Is the flag's value one that we cannot serve? */
typedef bool wanted_fn(const struct config *config, const struct config_row *row);

/* Any value but the default. */
static bool differs(const struct config *config, const struct config_row *row)
{
    const char *value = config__show(config, row);
    return strcmp(value, config__show(&config->priv->defaults, row)) != 0;
}

/* URLs that need TLS. */
static bool is_secure(const struct config *config, const struct config_row *row)
{
    ASSERT(row->kind == CONFIG_KIND_URLS);
    const struct url_list *list = config__value(config, row);
    for (size_t i = 0; i < list->count; i++) {
        const char *scheme = list->items[i].scheme;
        if (strcmp(scheme, "https") == 0 || strcmp(scheme, "unixs") == 0) {
            return true;
        }
    }
    return false;
}

/* More than one name; a text that cannot be read is left to config_bootstrap(). */
static bool has_several_members(const struct config *config, const struct config_row *row)
{
    UNUSED(row);
    struct url_map map;
    enum err err =
        url_map_parse(&config->priv->arena, slice_str(config->initial_cluster), &map, NULL);
    return err == ERR_OK && map.count > 1;
}

static bool is_not_simple(const struct config *config, const struct config_row *row)
{
    UNUSED(row);
    return config->auth_token[0] != 0 && strcmp(config->auth_token, "simple") != 0;
}

/* A retention above zero; one that cannot be read is left to config__derive(). */
static bool compacts_itself(const struct config *config, const struct config_row *row)
{
    UNUSED(row);
    int64_t number;
    struct slice text = slice_str(config->auto_compaction_retention);
    if (go_parse_int(text, 10, 64, &number, NULL) != ERR_OK &&
        go_parse_duration(text, &number, NULL) != ERR_OK) {
        return false;
    }
    return number != 0;
}

static bool has_missing_gate(const struct config *config, const struct config_row *row)
{
    UNUSED(row);
    for (size_t gate = 0; gate < CONFIG_GATE_COUNT; gate++) {
        if (gate != CONFIG_GATE_TXN_MODE_WRITE_WITH_SHARED_BUFFER && config->gates[gate]) {
            return true;
        }
    }
    return false;
}

#define NO_TLS "TLS is not built yet; serve plain HTTP behind something that encrypts"
#define NO_CLUSTER "clusters of several members are not built yet; start one member alone"
#define NO_DISCOVERY "discovery is not built yet; name the member in --initial-cluster"

static const struct unbuilt {
    const char *flag;
    wanted_fn *is_wanted;
    const char *sentence;
} unbuilt[] = {
    {"cert-file", differs, NO_TLS},
    {"key-file", differs, NO_TLS},
    {"client-cert-auth", differs, NO_TLS},
    {"client-cert-file", differs, NO_TLS},
    {"client-key-file", differs, NO_TLS},
    {"client-crl-file", differs, NO_TLS},
    {"client-cert-allowed-hostname", differs, NO_TLS},
    {"trusted-ca-file", differs, NO_TLS},
    {"auto-tls", differs, NO_TLS},
    {"peer-cert-file", differs, NO_TLS},
    {"peer-key-file", differs, NO_TLS},
    {"peer-client-cert-auth", differs, NO_TLS},
    {"peer-client-cert-file", differs, NO_TLS},
    {"peer-client-key-file", differs, NO_TLS},
    {"peer-trusted-ca-file", differs, NO_TLS},
    {"peer-cert-allowed-cn", differs, NO_TLS},
    {"peer-cert-allowed-hostname", differs, NO_TLS},
    {"peer-auto-tls", differs, NO_TLS},
    {"peer-skip-client-san-verification", differs, NO_TLS},
    {"peer-crl-file", differs, NO_TLS},
    {"cipher-suites", differs, NO_TLS},
    {"listen-client-urls", is_secure, "https:// and unixs:// need TLS, which is not built yet"},
    {"listen-client-http-urls", is_secure,
     "https:// and unixs:// need TLS, which is not built yet"},
    {"listen-metrics-urls", is_secure, "https:// and unixs:// need TLS, which is not built yet"},
    {"listen-peer-urls", is_secure, "https:// and unixs:// need TLS, which is not built yet"},
    {"advertise-client-urls", is_secure, "https:// and unixs:// need TLS, which is not built yet"},
    {"initial-advertise-peer-urls", is_secure,
     "https:// and unixs:// need TLS, which is not built yet"},
    {"discovery", differs, NO_DISCOVERY},
    {"discovery-proxy", differs, NO_DISCOVERY},
    {"discovery-token", differs, NO_DISCOVERY},
    {"discovery-endpoints", differs, NO_DISCOVERY},
    {"discovery-cert", differs, NO_DISCOVERY},
    {"discovery-key", differs, NO_DISCOVERY},
    {"discovery-cacert", differs, NO_DISCOVERY},
    {"discovery-user", differs, NO_DISCOVERY},
    {"discovery-password", differs, NO_DISCOVERY},
    {"discovery-srv", differs, NO_DISCOVERY},
    {"discovery-srv-name", differs, NO_DISCOVERY},
    {"initial-cluster", has_several_members, NO_CLUSTER},
    {"force-new-cluster", differs,
     "turning a member of a cluster into one of its own is not built yet"},
    {"auth-token", is_not_simple, "tokens other than simple ones are not built yet"},
    {"auto-compaction-retention", compacts_itself,
     "compaction by itself is not built yet; run etcdctl compaction instead"},
    {"corrupt-check-time", differs, "comparing members' data is not built yet"},
    {"memory-mlock", differs, "locking pages in memory is not built yet"},
    {"enable-pprof", differs, "profiles over HTTP are not built yet; use perf instead"},
    {"enable-distributed-tracing", differs, "traces are not built yet"},
    {"feature-gates", has_missing_gate,
     "of the gates only TxnModeWriteWithSharedBuffer can be set yet; the others' features are not "
     "built"},
};

FALLIBLE config__unbuilt(const struct config *config, struct errbuf *why)
{
    for (size_t i = 0; i < ARRAY_LEN(unbuilt); i++) {
        const struct config_row *row = config__row(unbuilt[i].flag);
        ASSERT(row != NULL);
        if (unbuilt[i].is_wanted(config, row)) {
            return errf(why, ERR_UNSUPPORTED, "--%s: %s", row->name, unbuilt[i].sentence);
        }
    }
    return ERR_OK;
}
