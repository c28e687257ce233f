/* Inside the configuration: the table of flags and the steps of loading it.
 *
 * One row a flag says everything about it: its kind, where its value lives, its default, its key in
 * the file, what replaced it, and its help. Flags, environment, file, help and tests all walk the
 * same table, so a flag cannot exist for one and be unknown to another.
 *
 *   flags -> environment -> migrate old names -> gates -> validate (opens the log) -> unbuilt
 *   file  ------------------^
 *
 * A flag of an older name ("experimental-...") keeps its value in a second `struct config`, at the
 * place of the flag that replaced it, until config__migrate() carries it over. */
#ifndef SERVER_CONFIG_PRIV_H
#define SERVER_CONFIG_PRIV_H

#include "base/goflag.h"
#include "codec/yaml.h"
#include "server/config.h"
#include "server/logging.h"

enum config_kind {
    CONFIG_KIND_BOOL,
    CONFIG_KIND_INT,      /* int64_t */
    CONFIG_KIND_UINT,     /* uint64_t */
    CONFIG_KIND_UINT32,   /* uint64_t of 32 bits */
    CONFIG_KIND_DURATION, /* int64_t nanoseconds */
    CONFIG_KIND_STRING,   /* const char * */
    CONFIG_KIND_URLS,     /* struct url_list; "" changes nothing */
    CONFIG_KIND_CORS,     /* struct config_strings: URLs or "*" */
    CONFIG_KIND_SET,      /* struct config_strings: sorted, each once */
    CONFIG_KIND_WORDS,    /* struct config_strings: as given */
    CONFIG_KIND_STATE,    /* const char *: new, existing */
    CONFIG_KIND_FALLBACK, /* const char *: exit, proxy */
    CONFIG_KIND_V2,       /* const char *: v2store phases */
    CONFIG_KIND_GATES,    /* config_gates.c */
    CONFIG_KIND_GATE,     /* bool: one gate's older flag */
    CONFIG_KIND_IGNORED,  /* takes anything, does nothing, says so */
};

struct config_row {
    const char *section; /* the help section that begins here, or NULL */
    const char *name;
    enum config_kind kind;
    size_t offset;         /* in struct config; of the older values when `successor` is set */
    const char *initial;   /* the default, as a flag's value; NULL: zero, "" or nothing */
    const char *shown;     /* the default as the help shows it; NULL: `initial` */
    const char *help;      /* sentences; a newline begins an indented line */
    const char *key;       /* "map.key" in the file; NULL: the name; "": not settable there */
    const char *successor; /* what the flag is called today; NULL: it is no older name */
    const char *warning;   /* logged when it is given; NULL: none */
    enum config_gate gate; /* CONFIG_KIND_GATE */
};

extern const struct config_row config__rows[];
extern const size_t config__row_count;

#define CONFIG_ROWS_MAX 256
#define CONFIG_DEFAULT_NAME "default"
#define CONFIG_DEFAULT_PEER_URL "http://localhost:2380"
#define CONFIG_DEFAULT_CLIENT_URL "http://localhost:2379"
#define CONFIG_DEFAULT_CLUSTER "default=http://localhost:2380"
#define CONFIG_ELECTION_MS_MAX 50000
#define CONFIG_PEER_TIMEOUT_MIN_NS ((int64_t)5000000000)
#define CONFIG_LIST_MAX 4096 /* parts of a comma list that is not URLs */

/* What --feature-gates was told, one entry a known name. */
enum config_gate_state {
    CONFIG_GATE_UNSET,
    CONFIG_GATE_OFF,
    CONFIG_GATE_ON,
};
#define CONFIG_GATE_NAMES_MAX (CONFIG_GATE_COUNT + 2) /* with AllAlpha and AllBeta */

struct config_binding {
    const struct config_row *row;
    struct config *config;
};

struct config_priv {
    struct arena arena;
    const struct config_input *in; /* during config_load() only */
    struct config old;             /* values of flags by their older names */
    struct config defaults;        /* as config__set_defaults() left them */
    bool given[CONFIG_ROWS_MAX];   /* on the command line, in the environment or the file */
    struct config_binding bindings[CONFIG_ROWS_MAX];
    struct goflag flags[CONFIG_ROWS_MAX + 2]; /* and config-file, version */
    struct goflag_set *set;
    bool wants_version;
    enum config_gate_state gates[CONFIG_GATE_NAMES_MAX];
    const char *gates_given; /* CONFIG_KIND_GATES in the file */
    struct log early;        /* before the configured logger: JSON on standard error */
    struct log_core *early_core;
    struct logging *logging;  /* NULL until the log is open */
    const char *default_host; /* what took the place of 0.0.0.0, or NULL */
};

/* ---- rows and values (config_value.c) -------------------------------------------------------- */

/* NULL when there is none of that name. */
const struct config_row *config__row(const char *name);
size_t config__row_index(const struct config_row *row);
bool config__given(const struct config *config, const char *name);

/* Where the row's value lives. */
void *config__place(struct config *config, const struct config_row *row);
const void *config__value(const struct config *config, const struct config_row *row);

/* Sets every value to its default. */
void config__set_defaults(struct config *config);

/* Sets a value from a flag's or variable's text. The sentence is the value's own. */
FALLIBLE config__set_text(struct config *config, const struct config_row *row, const char *value,
                          struct errbuf *why);

/* Sets a value from the file, with encoding/json's sentences about kinds. A null changes nothing.
 * ERR_CANCELED: a URL list is wrong; the sentence is the whole line for standard error. */
FALLIBLE config__set_node(struct config *config, const struct config_row *row,
                          const struct yaml_node *node, struct errbuf *why);

/* What encoding/json calls the node's kind: "string", "array". */
const char *config__kind_name(const struct yaml_node *node);

/* The value as a flag would be given. In the configuration's memory. */
const char *config__show(const struct config *config, const struct config_row *row);

/* `text` at commas; with `sorted` each once and in order. */
FALLIBLE config__split(struct arena *arena, struct slice text, bool sorted,
                       struct config_strings *out, struct errbuf *why);

/* A copy of `text` in quotes, for sentences. In the configuration's memory. */
const char *config__quote(const struct config *config, const char *text);

/* A duration as Go prints it. In the configuration's memory. */
const char *config__duration(const struct config *config, int64_t ns);

/* ---- gates (config_gates.c) ---------------------------------------------------------------------
 */

/* "A=true,B=false". ERR_INVALID with featuregate's sentence. */
FALLIBLE config__gates_set(struct config *config, struct slice text, struct errbuf *why);
/* Carries older flags over and works out every gate. ERR_INVALID: a gate is set twice. */
FALLIBLE config__gates_finish(struct config *config, struct errbuf *why);
/* The lines of the help. */
void config__gates_help(struct buf *out, const char *indent);

/* ---- steps --------------------------------------------------------------------------------------
 */

/* Standard output and error, whatever they are. */
void config__print_out(const struct config *config, struct slice text);
void config__print_err(const struct config *config, struct slice text);

void config__usage(struct buf *out); /* a page for a wrong flag */
void config__help(struct buf *out);  /* every flag */

/* The value of an environment variable, or NULL; an empty one counts as none. */
const char *config__getenv(const struct config *config, const char *name);
/* ETCD_SOME_FLAG of "some-flag". In the configuration's memory. */
const char *config__env_name(const struct config *config, const char *flag);
/* ERR_CANCELED: a conflict, already logged as fatal. */
FALLIBLE config__from_env(struct config *config, struct errbuf *why);
/* ERR_CANCELED: already said on standard error. */
FALLIBLE config__from_file(struct config *config, const char *path, struct errbuf *why);
/* Values under older names take the place of today's. */
void config__migrate(struct config *config);
/* Everything embed.Config.Validate() asks; opens the log on the way. */
FALLIBLE config__validate(struct config *config, struct errbuf *why);
/* Refuses what this program does not do yet. */
FALLIBLE config__unbuilt(const struct config *config, struct errbuf *why);
/* Settings that follow from others: default hosts and cluster, data directory, retention. */
FALLIBLE config__derive(struct config *config, struct errbuf *why);

/* The address of the default route's interface, in `arena`, or NULL with a sentence. */
const char *config__default_host(struct disk *disk, struct arena *arena, struct errbuf *why);

#endif
