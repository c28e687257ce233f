/* Command lines in the grammar of Go's flag package.
 *
 *   -f  --f  -f=value  --f=value  -f value      "--" ends the flags; so does the first argument
 *   that is not a flag. A boolean takes its value only behind "=".
 *
 * A set is a table of specifications that the caller owns, each bound to a variable; parsing sets
 * the variables and remembers which flags were given. Error texts are Go's own.
 *
 * Ownership: the specifications, the texts of their defaults and argv are borrowed for the life of
 *            the set; string values point into argv (or wherever goflag_set() was given them).
 * Threads:   one at a time.
 * Failure:   ERR_INVALID with Go's sentence; ERR_NOT_FOUND is "flag: help requested". */
#ifndef BASE_GOFLAG_H
#define BASE_GOFLAG_H

#include "base/bytes.h"

enum goflag_kind {
    GOFLAG_BOOL,   /* bool */
    GOFLAG_INT,    /* int64_t, Go's int: base prefixes and underscores allowed */
    GOFLAG_INT64,  /* int64_t: as GOFLAG_INT */
    GOFLAG_UINT,   /* uint64_t */
    GOFLAG_UINT32, /* uint64_t holding at most 32 bits, base 10 or prefixed (etcd's uint32Value) */
    GOFLAG_FLOAT,  /* double */
    GOFLAG_DURATION, /* int64_t, nanoseconds */
    GOFLAG_STRING,   /* const char *, never NULL */
    GOFLAG_FUNC,     /* goflag_set_fn */
};

struct goflag;
/* Takes one value. On ERR_* the sentence in *why is what Go puts behind
 * `invalid value "x" for flag -y: `. Called once an occurrence, in order. */
typedef enum err goflag_set_fn(const struct goflag *flag, const char *value, struct errbuf *why);

struct goflag {
    const char *name;
    enum goflag_kind kind;
    void *target;      /* what the kind says; for GOFLAG_FUNC the function's own */
    goflag_set_fn *fn; /* GOFLAG_FUNC only */
    bool is_bool_func; /* GOFLAG_FUNC only: may stand without a value, which is then "true" */
};

struct goflag_set;

/* Names must be unique. */
struct goflag_set *goflag_new(const struct goflag *flags, size_t count);
void goflag_free(struct goflag_set **set); /* safe on NULL */

/* Parses argv[0..argc), which does not contain the program's name.
 *
 * ERR_INVALID    bad flag syntax: -=x · flag provided but not defined: -x ·
 *                flag needs an argument: -x · invalid value "v" for flag -x: parse error ·
 *                invalid boolean value "v" for -x: parse error
 * ERR_NOT_FOUND  -h or -help where no such flag is defined: "flag: help requested" */
FALLIBLE goflag_parse(struct goflag_set *set, int argc, const char *const *argv,
                      struct errbuf *why);

/* What is behind the flags. */
size_t goflag_narg(const struct goflag_set *set);
const char *goflag_arg(const struct goflag_set *set, size_t index);

/* The specification called `name`, or NULL. */
const struct goflag *goflag_find(const struct goflag_set *set, struct slice name);

/* Sets one flag from elsewhere, as FlagSet.Set: it counts as given. The sentence in *why is the
 * value's own ("parse error"), without the flag's name. ERR_NOT_FOUND: "no such flag -x". */
FALLIBLE goflag_set_value(struct goflag_set *set, const char *name, const char *value,
                          struct errbuf *why);

/* Sets the variable of a specification, which then does not count as given in any set. */
FALLIBLE goflag_assign(const struct goflag *flag, const char *value, struct errbuf *why);

/* Was the flag on the command line, or set by goflag_set_value()? */
bool goflag_given(const struct goflag_set *set, const char *name);

#endif
