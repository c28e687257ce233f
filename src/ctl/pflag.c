/* Source: github.com/spf13/pflag 1.0, whose order of decisions the parser follows: what is no flag
 * ("-", anything without a dash) is an argument wherever it stands; "--" makes the rest arguments;
 * a long flag takes its value behind "=", else from its default without a value, else from the
 * next word; short flags may be run together, and the first that takes a value takes the rest. */
#include "ctl/pflag.h"

#include "base/gotext.h"
#include "base/mem.h"

/* More names than any program here has. */
#define PFLAG_MAX 64

struct pflag_set {
    struct arena arena;
    struct pflag *flags[PFLAG_MAX]; /* by name */
    size_t count;
    const char **args;
    size_t arg_count;
    size_t arg_cap;
};

/* Where the parser stands in the words it was given. */
struct words {
    const char *const *next;
    const char *const *end;
};

struct pflag_set *pflag_set_new(void)
{
    struct pflag_set *set = NEW(struct pflag_set);
    arena_init(&set->arena);
    return set;
}

void pflag_set_free(struct pflag_set **set)
{
    if (*set != NULL) {
        arena_fini(&(*set)->arena);
        mem_free((void *)(*set)->args);
        mem_free(*set);
        *set = NULL;
    }
}

/* ---- values ---------------------------------------------------------------------------- */

static enum err number_error(const char *function, const char *value, const struct errbuf *cause,
                             struct buf *why)
{
    buf_printf(why, "strconv.%s: parsing ", function);
    go_quote(slice_str(value), why);
    buf_printf(why, ": %s", cause->text);
    return ERR_INVALID; /* out of range is wrong too */
}

/* One field of a CSV line; *at moves behind it and its comma. Go's encoding/csv. */
static FALLIBLE csv_field(const char *line, const char **at, struct buf *out, struct buf *why)
{
    const char *p = *at;
    if (*p != '"') {
        for (; *p != 0 && *p != ',' && *p != '\n'; p++) {
            if (*p == '"') {
                buf_printf(why, "parse error on line 1, column %zu: bare \" in non-quoted-field",
                           (size_t)(p - line) + 1);
                return ERR_INVALID;
            }
            buf_append_byte(out, (uint8_t)*p);
        }
        *at = p;
        return ERR_OK;
    }
    for (p++; *p != 0; p++) {
        if (*p != '"') {
            buf_append_byte(out, (uint8_t)*p);
        } else if (p[1] == '"') {
            buf_append_byte(out, '"');
            p++;
        } else if (p[1] == 0 || p[1] == ',' || p[1] == '\n') {
            *at = p + 1;
            return ERR_OK;
        } else {
            break;
        }
    }
    buf_printf(why, "parse error on line 1, column %zu: extraneous or missing \" in quoted-field",
               (size_t)(p - line) + 1);
    return ERR_INVALID;
}

static void list_push(struct pflag_set *set, struct pflag *flag, struct slice item)
{
    const char **items = arena_alloc(&set->arena, (flag->list.count + 1) * sizeof(*items));
    if (flag->list.count > 0) {
        memcpy((void *)items, (const void *)flag->list.items, flag->list.count * sizeof(*items));
    }
    items[flag->list.count] = arena_strndup(&set->arena, (const char *)item.data, item.len);
    flag->list.items = items;
    flag->list.count++;
}

/* The first set replaces the initial list, later ones add to it. */
static FALLIBLE list_set(struct pflag_set *set, struct pflag *flag, const char *value,
                         struct buf *why)
{
    if (!flag->changed) {
        flag->list.count = 0;
    }
    if (value[0] == 0) {
        return ERR_OK;
    }
    struct buf field = {0};
    enum err err = ERR_OK;
    for (const char *at = value;; at++) {
        buf_reset(&field);
        err = csv_field(value, &at, &field, why);
        if (err != ERR_OK) {
            break;
        }
        list_push(set, flag, slice_of(buf_cstr(&field), field.len));
        if (*at != ',') {
            break;
        }
    }
    buf_fini(&field);
    return err;
}

static FALLIBLE value_set(struct pflag_set *set, struct pflag *flag, const char *value,
                          struct buf *why)
{
    struct errbuf cause = {{0}};
    struct slice text = slice_str(value);
    enum err err = ERR_OK;
    switch (flag->spec->type) {
    case PFLAG_BOOL:
        err = go_parse_bool(text, &flag->boolean, &cause);
        return err == ERR_OK ? err : number_error("ParseBool", value, &cause, why);
    case PFLAG_STRING:
        flag->text = arena_strndup(&set->arena, value, text.len);
        return ERR_OK;
    case PFLAG_INT64:
        err = go_parse_int(text, 0, 64, &flag->number, &cause);
        return err == ERR_OK ? err : number_error("ParseInt", value, &cause, why);
    case PFLAG_UINT64:
        err = go_parse_uint(text, 0, 64, &flag->unsigned_number, &cause);
        return err == ERR_OK ? err : number_error("ParseUint", value, &cause, why);
    case PFLAG_FLOAT64:
        err = go_parse_float(text, &flag->real, &cause);
        return err == ERR_OK ? err : number_error("ParseFloat", value, &cause, why);
    case PFLAG_DURATION:
        err = go_parse_duration(text, &flag->number, &cause);
        if (err != ERR_OK) {
            buf_append_str(why, cause.text);
            return ERR_INVALID;
        }
        return ERR_OK;
    case PFLAG_STRINGS:
        return list_set(set, flag, value, why);
    }
    UNREACHABLE();
}

enum err pflag_set_value(struct pflag_set *set, struct pflag *flag, const char *value,
                         struct buf *why)
{
    struct buf cause = {0};
    enum err err = value_set(set, flag, value, &cause);
    if (err == ERR_OK) {
        flag->changed = true;
    } else {
        buf_append_str(why, "invalid argument ");
        go_quote(slice_str(value), why);
        if (flag->spec->shorthand != 0) {
            buf_printf(why, " for \"-%c, --%s\" flag: ", flag->spec->shorthand, flag->spec->name);
        } else {
            buf_printf(why, " for \"--%s\" flag: ", flag->spec->name);
        }
        buf_append_slice(why, buf_slice(&cause));
    }
    buf_fini(&cause);
    return err;
}

/* ---- the set --------------------------------------------------------------------------- */

void pflag_add(struct pflag_set *set, const struct pflag_spec *specs, size_t count,
               bool is_inherited)
{
    for (size_t i = 0; i < count; i++) {
        if (pflag_find(set, slice_str(specs[i].name)) != NULL) {
            continue;
        }
        ASSERT(set->count < PFLAG_MAX);
        struct pflag *flag = ARENA_NEW(&set->arena, struct pflag);
        flag->spec = &specs[i];
        flag->is_inherited = is_inherited;
        struct buf why = {0};
        enum err err = value_set(set, flag, specs[i].initial, &why);
        ASSERT(err == ERR_OK);
        buf_fini(&why);
        size_t slot = set->count++;
        for (; slot > 0 && strcmp(set->flags[slot - 1]->spec->name, specs[i].name) > 0; slot--) {
            set->flags[slot] = set->flags[slot - 1];
        }
        set->flags[slot] = flag;
    }
}

size_t pflag_count(const struct pflag_set *set)
{
    return set->count;
}

struct pflag *pflag_at(const struct pflag_set *set, size_t index)
{
    ASSERT(index < set->count);
    return set->flags[index];
}

struct pflag *pflag_find(const struct pflag_set *set, struct slice name)
{
    for (size_t i = 0; i < set->count; i++) {
        if (slice_eq_str(name, set->flags[i]->spec->name)) {
            return set->flags[i];
        }
    }
    return NULL;
}

struct pflag *pflag_find_short(const struct pflag_set *set, char shorthand)
{
    for (size_t i = 0; i < set->count; i++) {
        if (shorthand != 0 && set->flags[i]->spec->shorthand == shorthand) {
            return set->flags[i];
        }
    }
    return NULL;
}

static const struct pflag *defined(const struct pflag_set *set, const char *name)
{
    const struct pflag *flag = pflag_find(set, slice_str(name));
    ASSERT(flag != NULL);
    return flag;
}

bool pflag_bool(const struct pflag_set *set, const char *name)
{
    const struct pflag *flag = defined(set, name);
    ASSERT(flag->spec->type == PFLAG_BOOL);
    return flag->boolean;
}

int64_t pflag_i64(const struct pflag_set *set, const char *name)
{
    const struct pflag *flag = defined(set, name);
    ASSERT(flag->spec->type == PFLAG_INT64 || flag->spec->type == PFLAG_DURATION);
    return flag->number;
}

uint64_t pflag_u64(const struct pflag_set *set, const char *name)
{
    const struct pflag *flag = defined(set, name);
    ASSERT(flag->spec->type == PFLAG_UINT64);
    return flag->unsigned_number;
}

double pflag_f64(const struct pflag_set *set, const char *name)
{
    const struct pflag *flag = defined(set, name);
    ASSERT(flag->spec->type == PFLAG_FLOAT64);
    return flag->real;
}

const char *pflag_str(const struct pflag_set *set, const char *name)
{
    const struct pflag *flag = defined(set, name);
    ASSERT(flag->spec->type == PFLAG_STRING);
    return flag->text;
}

bool pflag_changed(const struct pflag_set *set, const char *name)
{
    return defined(set, name)->changed;
}

size_t pflag_narg(const struct pflag_set *set)
{
    return set->arg_count;
}

const char *pflag_arg(const struct pflag_set *set, size_t index)
{
    ASSERT(index < set->arg_count);
    return set->args[index];
}

const char *const *pflag_args(const struct pflag_set *set)
{
    return set->args;
}

/* ---- parsing --------------------------------------------------------------------------- */

static void arg_push(struct pflag_set *set, const char *arg)
{
    ASSERT(set->arg_count < set->arg_cap);
    set->args[set->arg_count++] = arg;
}

static FALLIBLE parse_long(struct pflag_set *set, const char *word, struct words *words,
                           struct buf *why)
{
    struct slice name;
    struct slice rest = slice_split(slice_str(word + 2), '=', &name);
    if (word[2] == '-' || word[2] == '=') {
        buf_printf(why, "bad flag syntax: %s", word);
        return ERR_INVALID;
    }
    struct pflag *flag = pflag_find(set, name);
    if (flag == NULL && slice_eq_str(name, "help")) {
        return ERR_NOT_FOUND;
    }
    if (flag == NULL) {
        buf_append_str(why, "unknown flag: --");
        buf_append_slice(why, name);
        return ERR_INVALID;
    }
    const char *value = NULL;
    if (rest.data != NULL) {
        value = (const char *)rest.data;
    } else if (pflag_value_optional(flag->spec)) {
        value = "true";
    } else if (words->next < words->end) {
        value = *words->next++;
    } else {
        buf_printf(why, "flag needs an argument: %s", word);
        return ERR_INVALID;
    }
    return pflag_set_value(set, flag, value, why);
}

/* Go's %q of one byte, as pflag shows a shorthand. */
static void quote_byte(char byte, struct buf *out)
{
    if (byte == '\'' || byte == '\\') {
        buf_printf(out, "'\\%c'", byte);
        return;
    }
    /* As a rune: bytes from 0x80 are Latin-1 letters to Go. */
    struct buf quoted = {0};
    uint8_t rune[2] = {(uint8_t)byte, 0};
    size_t len = 1;
    if (((uint8_t)byte & 0x80) != 0) {
        rune[0] = (uint8_t)(0xc0 | ((uint8_t)byte >> 6));
        rune[1] = (uint8_t)(0x80 | ((uint8_t)byte & 0x3f));
        len = 2;
    }
    if (byte == '"') {
        buf_append_str(&quoted, "\"\"\"");
    } else {
        go_quote(slice_of(rune, len), &quoted);
    }
    buf_append_byte(out, '\'');
    buf_append(out, quoted.data + 1, quoted.len - 2);
    buf_append_byte(out, '\'');
    buf_fini(&quoted);
}

/* One letter of a run of short flags; *letters moves behind what it took. */
static FALLIBLE parse_short(struct pflag_set *set, const char **letters, struct words *words,
                            struct buf *why)
{
    const char *run = *letters;
    struct pflag *flag = pflag_find_short(set, run[0]);
    if (flag == NULL && run[0] == 'h') {
        return ERR_NOT_FOUND;
    }
    if (flag == NULL) {
        buf_append_str(why, "unknown shorthand flag: ");
        quote_byte(run[0], why);
        buf_printf(why, " in -%s", run);
        return ERR_INVALID;
    }
    const char *value = NULL;
    *letters = "";
    if (run[1] == '=' && run[2] != 0) {
        value = run + 2;
    } else if (pflag_value_optional(flag->spec)) {
        value = "true";
        *letters = run + 1;
    } else if (run[1] != 0) {
        value = run + 1;
    } else if (words->next < words->end) {
        value = *words->next++;
    } else {
        buf_append_str(why, "flag needs an argument: ");
        quote_byte(run[0], why);
        buf_printf(why, " in -%s", run);
        return ERR_INVALID;
    }
    return pflag_set_value(set, flag, value, why);
}

static FALLIBLE parse_word(struct pflag_set *set, const char *word, struct words *words,
                           struct buf *why)
{
    if (word[0] != '-' || word[1] == 0) {
        arg_push(set, word);
        return ERR_OK;
    }
    if (word[1] == '-') {
        return parse_long(set, word, words, why);
    }
    for (const char *letters = word + 1; *letters != 0;) {
        TRY(parse_short(set, &letters, words, why));
    }
    return ERR_OK;
}

enum err pflag_parse(struct pflag_set *set, const char *const *args, size_t count, struct buf *why)
{
    ASSERT(set->args == NULL);
    set->arg_cap = count;
    set->args = mem_array(count + 1, sizeof(*set->args));
    struct words words = {.next = args, .end = args + count};
    while (words.next < words.end) {
        const char *word = *words.next++;
        if (strcmp(word, "--") == 0) {
            while (words.next < words.end) {
                arg_push(set, *words.next++);
            }
            break;
        }
        TRY(parse_word(set, word, &words, why));
    }
    set->args[set->arg_count] = NULL;
    return ERR_OK;
}

/* ---- showing --------------------------------------------------------------------------- */

/* A list item as encoding/csv writes it. */
static void csv_append(const char *item, struct buf *out)
{
    bool is_plain = item[0] != ' ' && item[0] != '\t' && strcmp(item, "\\.") != 0 &&
                    strpbrk(item, ",\"\r\n") == NULL;
    if (is_plain) {
        buf_append_str(out, item);
        return;
    }
    buf_append_byte(out, '"');
    for (; *item != 0; item++) {
        if (*item == '"') {
            buf_append_byte(out, '"');
        }
        buf_append_byte(out, (uint8_t)*item);
    }
    buf_append_byte(out, '"');
}

void pflag_format(const struct pflag *flag, struct buf *out)
{
    switch (flag->spec->type) {
    case PFLAG_BOOL:
        buf_append_str(out, flag->boolean ? "true" : "false");
        break;
    case PFLAG_STRING:
        buf_append_str(out, flag->text);
        break;
    case PFLAG_INT64:
        buf_printf(out, "%lld", (long long)flag->number);
        break;
    case PFLAG_UINT64:
        buf_printf(out, "%llu", (unsigned long long)flag->unsigned_number);
        break;
    case PFLAG_FLOAT64:
        go_format_float_v(flag->real, out);
        break;
    case PFLAG_DURATION:
        go_format_duration(flag->number, out);
        break;
    case PFLAG_STRINGS:
        buf_append_byte(out, '[');
        for (size_t i = 0; i < flag->list.count; i++) {
            if (i > 0) {
                buf_append_byte(out, ',');
            }
            csv_append(flag->list.items[i], out);
        }
        buf_append_byte(out, ']');
        break;
    }
}

void pflag_format_initial(const struct pflag_spec *spec, struct buf *out)
{
    struct pflag_set *set = pflag_set_new();
    pflag_add(set, spec, 1, false);
    pflag_format(set->flags[0], out);
    pflag_set_free(&set);
}
