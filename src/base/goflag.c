#include "base/goflag.h"

#include "base/gotext.h"
#include "base/mem.h"

struct goflag_set {
    const struct goflag *flags;
    bool *given; /* one a flag */
    size_t count;
    const char *const *args; /* what is behind the flags */
    size_t arg_count;
};

static size_t find(const struct goflag_set *set, struct slice name)
{
    for (size_t i = 0; i < set->count; i++) {
        if (slice_eq_str(name, set->flags[i].name)) {
            return i;
        }
    }
    return set->count;
}

struct goflag_set *goflag_new(const struct goflag *flags, size_t count)
{
    struct goflag_set *set = NEW(struct goflag_set);
    *set = (struct goflag_set){.flags = flags, .count = count};
    set->given = mem_zalloc(count);
    for (size_t i = 0; i < count; i++) {
        ASSERT(find(set, slice_str(flags[i].name)) == i);
        ASSERT((flags[i].kind == GOFLAG_FUNC) == (flags[i].fn != NULL));
        ASSERT(flags[i].kind == GOFLAG_FUNC || flags[i].target != NULL);
    }
    return set;
}

void goflag_free(struct goflag_set **set)
{
    if (*set != NULL) {
        mem_free((*set)->given);
        mem_free(*set);
        *set = NULL;
    }
}

/* ---- values
 * -------------------------------------------------------------------------------------- */

/* What the flag package makes of strconv's and time's errors. */
static enum err value_error(enum err err, struct errbuf *why)
{
    if (err == ERR_OK) {
        return ERR_OK;
    }
    return errf(why, ERR_INVALID, err == ERR_TOO_LARGE ? "value out of range" : "parse error");
}

/* etcd's uint32Value hands strconv's whole error on. */
static enum err set_uint32(uint64_t *target, const char *value, struct errbuf *why)
{
    uint64_t number;
    enum err err = go_parse_uint(slice_str(value), 0, 32, &number, why);
    if (err == ERR_OK) {
        *target = number;
        return ERR_OK;
    }
    struct buf quoted = {0};
    go_quote(slice_str(value), &quoted);
    err = err_wrap(why, ERR_INVALID, "strconv.ParseUint: parsing %s", buf_cstr(&quoted));
    buf_fini(&quoted);
    return err;
}

FALLIBLE goflag_assign(const struct goflag *flag, const char *value, struct errbuf *why)
{
    struct slice text = slice_str(value);
    switch (flag->kind) {
    case GOFLAG_BOOL:
        return value_error(go_parse_bool(text, flag->target, NULL), why);
    case GOFLAG_INT:
    case GOFLAG_INT64:
        return value_error(go_parse_int(text, 0, 64, flag->target, NULL), why);
    case GOFLAG_UINT:
        return value_error(go_parse_uint(text, 0, 64, flag->target, NULL), why);
    case GOFLAG_UINT32:
        return set_uint32(flag->target, value, why);
    case GOFLAG_FLOAT:
        return value_error(go_parse_float(text, flag->target, NULL), why);
    case GOFLAG_DURATION:
        return value_error(go_parse_duration(text, flag->target, NULL), why);
    case GOFLAG_STRING:
        *(const char **)flag->target = value;
        return ERR_OK;
    case GOFLAG_FUNC:
        return flag->fn(flag, value, why);
    }
    UNREACHABLE();
}

static bool is_bool(const struct goflag *flag)
{
    return flag->kind == GOFLAG_BOOL || (flag->kind == GOFLAG_FUNC && flag->is_bool_func);
}

/* ---- parsing
 * ---------------------------------------------------------------------------------------- */

/* A word that starts with a dash, taken apart. */
struct word {
    struct slice name;
    const char *value; /* behind "=", or NULL */
};

/* "-x" or "--x=v". ERR_INVALID: bad flag syntax. */
static enum err split_word(const char *text, struct word *out, struct errbuf *why)
{
    const char *name = text + (text[1] == '-' ? 2 : 1);
    if (name[0] == 0 || name[0] == '-' || name[0] == '=') {
        return errf(why, ERR_INVALID, "bad flag syntax: %s", text);
    }
    const char *equals = strchr(name + 1, '=');
    *out = (struct word){
        .name = equals == NULL ? slice_str(name) : slice_of(name, (size_t)(equals - name)),
        .value = equals == NULL ? NULL : equals + 1,
    };
    return ERR_OK;
}

static enum err bad_value(const struct goflag *flag, const char *value, enum err err,
                          struct errbuf *why)
{
    struct buf quoted = {0};
    go_quote(slice_str(value), &quoted);
    if (is_bool(flag)) {
        err_wrap(why, err, "invalid boolean value %s for -%s", buf_cstr(&quoted), flag->name);
    } else {
        err_wrap(why, err, "invalid value %s for flag -%s", buf_cstr(&quoted), flag->name);
    }
    buf_fini(&quoted);
    return ERR_INVALID;
}

static enum err undefined(struct slice name, struct errbuf *why)
{
    if (slice_eq_str(name, "h") || slice_eq_str(name, "help")) {
        return errf(why, ERR_NOT_FOUND, "flag: help requested");
    }
    return errf(why, ERR_INVALID, "flag provided but not defined: -%.*s", (int)name.len,
                (const char *)name.data);
}

/* Takes one flag and its value from the front of the arguments. */
static enum err parse_flag(struct goflag_set *set, struct errbuf *why)
{
    struct word word = {0};
    TRY(split_word(set->args[0], &word, why));
    set->args++;
    set->arg_count--;
    size_t at = find(set, word.name);
    if (at == set->count) {
        return undefined(word.name, why);
    }
    const struct goflag *flag = &set->flags[at];
    const char *value = word.value;
    if (value == NULL && is_bool(flag)) {
        value = "true";
    } else if (value == NULL) {
        if (set->arg_count == 0) {
            return errf(why, ERR_INVALID, "flag needs an argument: -%s", flag->name);
        }
        value = set->args[0];
        set->args++;
        set->arg_count--;
    }
    enum err err = goflag_assign(flag, value, why);
    if (err != ERR_OK) {
        return bad_value(flag, value, err, why);
    }
    set->given[at] = true;
    return ERR_OK;
}

FALLIBLE goflag_parse(struct goflag_set *set, int argc, const char *const *argv, struct errbuf *why)
{
    ASSERT(argc >= 0);
    set->args = argv;
    set->arg_count = (size_t)argc;
    while (set->arg_count > 0) {
        const char *text = set->args[0];
        if (text[0] != '-' || text[1] == 0) {
            break;
        }
        if (strcmp(text, "--") == 0) {
            set->args++;
            set->arg_count--;
            break;
        }
        TRY(parse_flag(set, why));
    }
    return ERR_OK;
}

/* ---- afterwards
 * ---------------------------------------------------------------------------------- */

size_t goflag_narg(const struct goflag_set *set)
{
    return set->arg_count;
}

const char *goflag_arg(const struct goflag_set *set, size_t index)
{
    ASSERT(index < set->arg_count);
    return set->args[index];
}

const struct goflag *goflag_find(const struct goflag_set *set, struct slice name)
{
    size_t at = find(set, name);
    return at == set->count ? NULL : &set->flags[at];
}

FALLIBLE goflag_set_value(struct goflag_set *set, const char *name, const char *value,
                          struct errbuf *why)
{
    size_t at = find(set, slice_str(name));
    if (at == set->count) {
        return errf(why, ERR_NOT_FOUND, "no such flag -%s", name);
    }
    TRY(goflag_assign(&set->flags[at], value, why));
    set->given[at] = true;
    return ERR_OK;
}

bool goflag_given(const struct goflag_set *set, const char *name)
{
    size_t at = find(set, slice_str(name));
    ASSERT(at < set->count);
    return set->given[at];
}
