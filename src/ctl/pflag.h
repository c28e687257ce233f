/* Command lines in the grammar of Go's pflag, which etcdctl speaks.
 *
 *   --flag=value  --flag value  --bool  --bool=false  -w json  -wjson  -w=json  -abc
 *   flags may stand anywhere between arguments; "--" ends them; a lone "-" is an argument
 *
 * A set is filled from tables of specifications: those of the command itself (local) and those of
 * its parents (inherited). It owns the values; the texts of errors are pflag's own.
 *
 * Ownership: specifications and argv are borrowed for the life of the set.
 * Threads:   one at a time.
 * Failure:   ERR_INVALID with pflag's sentence in *why; ERR_NOT_FOUND: help was asked for where no
 *            help flag is defined. */
#ifndef CTL_PFLAG_H
#define CTL_PFLAG_H

#include "base/bytes.h"

enum pflag_type {
    PFLAG_BOOL,     /* may stand without a value, which is then "true" */
    PFLAG_STRING,   /* any text */
    PFLAG_INT64,    /* Go's int64, prefixes and underscores allowed */
    PFLAG_UINT64,   /* Go's uint */
    PFLAG_FLOAT64,  /* Go's float64 */
    PFLAG_DURATION, /* nanoseconds; "1m30s" */
    PFLAG_STRINGS,  /* comma separated, CSV quoting; repeats add up */
};

struct pflag_spec {
    const char *name;
    char shorthand; /* 0: none */
    enum pflag_type type;
    const char *initial;        /* as it would be typed: "false", "", "0", "5s", "127.0.0.1:2379" */
    const char *usage;          /* one line for help */
    const char *const *choices; /* completions of the value, up to NULL; or NULL */
};

struct pflag {
    const struct pflag_spec *spec;
    bool is_inherited;
    bool changed; /* given on the command line or set by pflag_set_value() */
    union {
        bool boolean;
        int64_t number; /* PFLAG_INT64, PFLAG_DURATION */
        uint64_t unsigned_number;
        double real;
        const char *text;
        struct {
            const char **items;
            size_t count;
        } list;
    };
};

struct pflag_set;

struct pflag_set *pflag_set_new(void);
void pflag_set_free(struct pflag_set **set); /* safe on NULL */

/* Adds flags with their initial values. A name or a shorthand that is there already wins, as the
 * nearest definition does in cobra: add local ones first. */
void pflag_add(struct pflag_set *set, const struct pflag_spec *specs, size_t count,
               bool is_inherited);

/* Parses what is behind the command's name. *why (never NULL) gets the sentence, appended. */
FALLIBLE pflag_parse(struct pflag_set *set, const char *const *args, size_t count, struct buf *why);

/* Sets one flag from elsewhere (the environment): it counts as changed. *why (never NULL) gets
 * pflag's `invalid argument "x" for "--y" flag: …`, appended. `value` is copied. */
FALLIBLE pflag_set_value(struct pflag_set *set, struct pflag *flag, const char *value,
                         struct buf *why);

/* The arguments that are no flags, in their order. */
size_t pflag_narg(const struct pflag_set *set);
const char *pflag_arg(const struct pflag_set *set, size_t index);
const char *const *pflag_args(const struct pflag_set *set);

/* NULL when there is none. */
struct pflag *pflag_find(const struct pflag_set *set, struct slice name);
struct pflag *pflag_find_short(const struct pflag_set *set, char shorthand);

/* Values by name; the flag must be defined with that type. */
bool pflag_bool(const struct pflag_set *set, const char *name);
int64_t pflag_i64(const struct pflag_set *set, const char *name); /* also durations */
uint64_t pflag_u64(const struct pflag_set *set, const char *name);
double pflag_f64(const struct pflag_set *set, const char *name);
const char *pflag_str(const struct pflag_set *set, const char *name);
bool pflag_changed(const struct pflag_set *set, const char *name);

/* All flags, by name in byte order; for help and the environment. */
size_t pflag_count(const struct pflag_set *set);
struct pflag *pflag_at(const struct pflag_set *set, size_t index);

/* The value as Go's String() shows it: "true", "5s", "[a,b]". Appends. */
void pflag_format(const struct pflag *flag, struct buf *out);
/* The initial value, likewise. */
void pflag_format_initial(const struct pflag_spec *spec, struct buf *out);

/* Whether the flag may stand without a value (pflag's NoOptDefVal). */
static inline bool pflag_value_optional(const struct pflag_spec *spec)
{
    return spec->type == PFLAG_BOOL;
}

#endif
