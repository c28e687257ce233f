/* The server's configuration: command line, environment or file in, one checked struct out.
 *
 * Speaks as etcd 3.6: its flags, defaults, precedence, texts and exit statuses. What this program
 * does not do yet is refused with a sentence that names the flag (config_unbuilt.c), never ignored.
 *
 *   int main(int argc, char **argv, char **environ)
 *   {
 *       struct env *env = posix_env_new();
 *       struct config_input in = {.argc = argc, .argv = argv, .environ = environ,
 *                                 .disk = env->disk, .clock = clock, .clock_ctx = env,
 *                                 .local_time = true};
 *       struct config *config;
 *       int status;
 *       if (config_load(&in, &config, &status) == CONFIG_EXIT) {
 *           return status;                        // help, version, refusals: all said
 *       }
 *       struct log log = config_log(config);
 *       ...
 *       config_free(&config);                     // closes the log's files
 *   }
 *
 * On CONFIG_RUN the lines `Running: `, deprecations and warnings are already logged, defaults that
 * depend on others are filled in, and every value has met etcd's checks.
 *
 * Ownership: everything in struct config lives in it until config_free(); argv and environ are
 *            borrowed for as long.
 * Threads:   loop thread; read-only after config_load().
 * Failure:   config_load() says why on the log or on standard error and gives the exit status. */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include "base/log.h"
#include "base/mem.h"
#include "base/url.h"
#include "env/env.h"

/* How we present ourselves to clients that switch features on by version. */
#define CONFIG_ETCD_VERSION "3.6.0"
#define CONFIG_ETCD_MINOR "3.6"
#define CONFIG_OWN_VERSION "0.1.0"
/* /version, --version and the start line name a git commit; ours is given at build time. */
const char *config_git_sha(void);
/* As Go names them: "linux", "amd64". */
const char *config_os(void);
const char *config_arch(void);

struct config_strings {
    const char *const *items;
    size_t count;
};

enum config_compaction_mode {
    CONFIG_COMPACTION_PERIODIC,
    CONFIG_COMPACTION_REVISION,
};

enum config_freelist {
    CONFIG_FREELIST_MAP,
    CONFIG_FREELIST_ARRAY,
};

/* --feature-gates, in the order of config_gate_name(). */
enum config_gate {
    CONFIG_GATE_COMPACT_HASH_CHECK,
    CONFIG_GATE_INITIAL_CORRUPT_CHECK,
    CONFIG_GATE_LEASE_CHECKPOINT,
    CONFIG_GATE_LEASE_CHECKPOINT_PERSIST,
    CONFIG_GATE_SET_MEMBER_LOCAL_ADDR,
    CONFIG_GATE_STOP_GRPC_SERVICE_ON_DEFRAG,
    CONFIG_GATE_TXN_MODE_WRITE_WITH_SHARED_BUFFER,
    CONFIG_GATE_COUNT,
};

/* TLS of one side; nothing of it can be set yet (config_unbuilt.c). */
struct config_tls {
    const char *cert_file;
    const char *key_file;
    const char *client_cert_file;
    const char *client_key_file;
    const char *trusted_ca_file;
    const char *crl_file;
    bool client_cert_auth;
    bool auto_tls;
    bool skip_client_san_verify;
    struct config_strings allowed_cns;
    struct config_strings allowed_hostnames;
};

struct config {
    /* ---- member -------------------------------------------------------------------------- */
    const char *name;                  /* never "" unless asked for */
    const char *data_dir;              /* never "": "<name>.etcd" by default */
    const char *wal_dir;               /* "" = <data_dir>/member/wal */
    uint64_t snapshot_count;           /* applied entries between raft snapshots */
    uint64_t snapshot_catchup_entries; /* entries kept behind a snapshot */
    uint64_t max_snapshots;            /* .snap files kept; 0 = all */
    uint64_t max_wals;                 /* WAL segments kept; 0 = all */
    uint64_t heartbeat_ms;             /* a raft tick; > 0 */
    uint64_t election_ms;              /* >= 5 ticks, <= 50000 */
    bool initial_election_tick_advance;
    struct url_list listen_peer_urls;        /* not empty */
    struct url_list listen_client_urls;      /* not empty */
    struct url_list listen_client_http_urls; /* not empty: the list above serves gRPC only */
    int64_t quota_backend_bytes;       /* as given: 0 = default, < 0 = none; see config_quota() */
    const char *backend_freelist_type; /* "" "map" "array" or anything, which is map */
    int64_t backend_batch_interval_ns; /* 0 = 100 ms; see config_batch_interval_ns() */
    int64_t backend_batch_limit;       /* 0 = 10000 */
    uint64_t max_txn_ops;
    uint64_t max_request_bytes;
    uint64_t max_concurrent_streams; /* <= 2^32 - 1 */
    int64_t grpc_keepalive_min_time_ns;
    int64_t grpc_keepalive_interval_ns; /* 0 = no server pings */
    int64_t grpc_keepalive_timeout_ns;  /* 0 = no wait */
    bool socket_reuse_port;
    bool socket_reuse_address;
    bool enable_grpc_gateway;
    int64_t raft_read_timeout_ns;  /* >= 5 s */
    int64_t raft_write_timeout_ns; /* >= 5 s */
    bool memory_mlock;
    bool gates[CONFIG_GATE_COUNT]; /* effective values */
    const char *gates_text;        /* as etcd shows what was set: "A=true,B=false", "" */

    /* ---- clustering ---------------------------------------------------------------------- */
    struct url_list initial_advertise_peer_urls;
    const char *initial_cluster;       /* "name=url,..."; "" with discovery */
    const char *initial_cluster_state; /* "new" or "existing" */
    const char *initial_cluster_token;
    struct url_list advertise_client_urls;
    const char *discovery;
    const char *discovery_proxy;
    const char *discovery_fallback;
    const char *discovery_srv;
    const char *discovery_srv_name;
    struct config_strings discovery_endpoints;
    const char *discovery_token;
    int64_t discovery_dial_timeout_ns;
    int64_t discovery_request_timeout_ns;
    int64_t discovery_keepalive_time_ns;
    int64_t discovery_keepalive_timeout_ns;
    bool discovery_insecure_transport;
    bool discovery_insecure_skip_tls_verify;
    const char *discovery_cert;
    const char *discovery_key;
    const char *discovery_cacert;
    const char *discovery_user;
    const char *discovery_password;
    bool strict_reconfig_check;
    bool pre_vote;
    const char *auto_compaction_retention; /* as given */
    const char *auto_compaction_mode;      /* as given */
    const char *v2_deprecation;            /* "write-only" or "write-only-skip-check" */

    /* ---- security ------------------------------------------------------------------------ */
    struct config_tls client_tls;
    struct config_tls peer_tls;
    uint64_t self_signed_cert_validity; /* years */
    struct config_strings cipher_suites;
    const char *tls_min_version;
    const char *tls_max_version;
    struct config_strings cors;           /* sorted; "*" among them allows all */
    struct config_strings host_whitelist; /* sorted; "*" or nothing allows all */

    /* ---- auth ---------------------------------------------------------------------------- */
    const char *auth_token;
    uint64_t bcrypt_cost;
    uint64_t auth_token_ttl_s;

    /* ---- monitoring, logging --------------------------------------------------------------- */
    bool enable_pprof;
    const char *metrics; /* "basic" or "extensive" */
    struct url_list listen_metrics_urls;
    const char *logger;
    struct config_strings log_outputs; /* sorted */
    const char *log_level;
    const char *log_format;
    bool enable_log_rotation;
    const char *log_rotation_config_json;
    int64_t warning_unary_request_duration_ns;
    int64_t warning_apply_duration_ns;
    bool enable_distributed_tracing;
    const char *distributed_tracing_address;
    const char *distributed_tracing_service_name;
    const char *distributed_tracing_instance_id;
    int64_t distributed_tracing_sampling_rate; /* per million */

    /* ---- features -------------------------------------------------------------------------- */
    int64_t corrupt_check_time_ns;             /* 0 = never */
    int64_t compact_hash_check_time_ns;        /* > 0; used when its gate is on */
    int64_t compaction_batch_limit;            /* 0 = 1000 */
    int64_t compaction_sleep_interval_ns;      /* 0 = 10 ms */
    int64_t watch_progress_notify_interval_ns; /* 0 = 10 min */
    uint64_t bootstrap_defrag_threshold_megabytes;
    int64_t max_learners;
    int64_t downgrade_check_time_ns;
    bool force_new_cluster;
    bool unsafe_no_fsync;

    /* ---- this program's own ---------------------------------------------------------------- */
    int64_t snapshot_stall_timeout_ns; /* 0 = never */
    int64_t scrub_interval_ns;         /* 0 = never */

    /* ---- derived --------------------------------------------------------------------------- */
    uint64_t election_ticks; /* election_ms / heartbeat_ms */
    enum config_compaction_mode compaction_mode;
    int64_t compaction_retention; /* periodic: nanoseconds; revision: how many; 0 = off */
    const char *config_file;      /* "" when none was used */

    struct config_priv *priv; /* parsing state and log sinks */
};

/* What the process looks like to config_load(). */
struct config_input {
    int argc; /* with the program's name in argv[0] */
    const char *const *argv;
    const char *const *environ; /* "K=V" strings and a final NULL */
    struct disk *disk;          /* for the configuration file, log files, default host */
    log_clock_fn *clock;
    void *clock_ctx;
    bool local_time; /* log stamps in the local zone, as etcd */
    /* Where text and log lines go; NULL fn: the process's own standard streams. */
    struct log_sink standard_out;
    struct log_sink standard_error;
};

enum config_verdict {
    CONFIG_RUN,  /* *out is ready */
    CONFIG_EXIT, /* leave with *status; everything has been said; *out is NULL */
};

enum config_verdict config_load(const struct config_input *in, struct config **out, int *status);
void config_free(struct config **config); /* safe on NULL; closes log files */

/* The configured logger. Valid until config_free(). */
struct log config_log(const struct config *config);

/* ---- what follows from the settings ---------------------------------------------------------- */

#define CONFIG_QUOTA_DEFAULT ((int64_t)2 << 30)
#define CONFIG_QUOTA_WARN ((int64_t)8 << 30)
#define CONFIG_REQUEST_WARN ((uint64_t)10 << 20)
#define CONFIG_GRPC_OVERHEAD ((uint64_t)512 << 10)

/* Bytes the database may grow to; INT64_MAX when there is no quota. */
int64_t config_quota(const struct config *config);
int64_t config_batch_interval_ns(const struct config *config);
uint64_t config_batch_limit(const struct config *config);
uint64_t config_compaction_batch_limit(const struct config *config);
int64_t config_compaction_sleep_ns(const struct config *config);
int64_t config_watch_progress_ns(const struct config *config);
enum config_freelist config_freelist(const struct config *config);
/* How long a request may wait for its place in the log: 5 s + two election timeouts. */
int64_t config_request_timeout_ns(const struct config *config);

/* Paths, in the configuration's memory. */
const char *config_member_dir(const struct config *config);
const char *config_wal_dir(const struct config *config);
const char *config_snap_dir(const struct config *config);
const char *config_backend_path(const struct config *config);

const char *config_gate_name(enum config_gate gate);

/* The members a new cluster starts with: --initial-cluster parsed and checked as etcd does when
 * the data directory is empty (own name in it, same URLs as advertised, none twice). Call only
 * then: a member that has its data ignores these flags.
 *
 * ERR_INVALID with etcd's sentence. The map lives in the configuration. */
FALLIBLE config_bootstrap(const struct config *config, struct url_map *out, struct errbuf *why);

/* The same for a member that a tool founds, without a configuration. */
struct config_founding {
    struct arena *arena; /* of the result */
    const char *name;
    const char *initial_cluster;
    const struct url_list *advertised; /* --initial-advertise-peer-urls */
};
FALLIBLE config_check_founding(const struct config_founding *founding, struct url_map *out,
                               struct errbuf *why);

/* ---- the data directory ------------------------------------------------------------------------
 */

enum config_dir {
    CONFIG_DIR_EMPTY,  /* nothing there: a new member */
    CONFIG_DIR_MEMBER, /* has been initialized */
    CONFIG_DIR_PROXY,  /* a v2 proxy's, which 3.6 refuses */
};

/* Looks, warns about files that do not belong there, and logs which it is, as etcd does. A member
 * or proxy directory that is wrong, or cannot be listed, is logged as fatal: ERR_*, exit 1. */
FALLIBLE config_identify_dir(const struct config *config, struct disk *disk, enum config_dir *out);

#endif
