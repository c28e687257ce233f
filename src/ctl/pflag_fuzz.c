/* Command lines, one word a line. What parses is written out again as --flag=value and arguments
 * behind "--", and parses to the same. */
#include "ctl/ctl_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WORDS_MAX 64

static size_t split(struct arena *arena, struct slice input, const char **words)
{
    size_t count = 0;
    while (input.data != NULL && count < WORDS_MAX) {
        struct slice word;
        input = slice_split(input, '\n', &word);
        size_t len = word.len == 0 ? 0 : strnlen((const char *)word.data, word.len);
        words[count++] = arena_strndup(arena, (const char *)word.data, len);
    }
    return count;
}

/* A list that Go's own notation cannot tell from an empty one. */
static bool is_ambiguous(const struct pflag *flag)
{
    return flag->spec->type == PFLAG_STRINGS && flag->list.count == 1 &&
           flag->list.items[0][0] == 0;
}

/* "--name=value" of each changed flag, "--", the arguments. */
static size_t write_words(struct arena *arena, const struct pflag_set *set, const char **words)
{
    size_t count = 0;
    struct buf word = {0};
    for (size_t i = 0; i < pflag_count(set); i++) {
        const struct pflag *flag = pflag_at(set, i);
        if (!flag->changed) {
            continue;
        }
        buf_reset(&word);
        buf_printf(&word, "--%s=", flag->spec->name);
        pflag_format(flag, &word);
        if (flag->spec->type == PFLAG_STRINGS) { /* without the brackets */
            size_t at = strlen(flag->spec->name) + 3;
            memmove(word.data + at, word.data + at + 1, word.len - at - 2);
            word.len -= 2;
        }
        words[count++] = arena_strndup(arena, buf_cstr(&word), word.len);
    }
    words[count++] = "--";
    for (size_t i = 0; i < pflag_narg(set); i++) {
        words[count++] = pflag_arg(set, i);
    }
    buf_fini(&word);
    return count;
}

static bool same(const struct pflag_set *a, const struct pflag_set *b)
{
    struct buf left = {0};
    struct buf right = {0};
    bool is_same = pflag_narg(a) == pflag_narg(b);
    for (size_t i = 0; is_same && i < pflag_narg(a); i++) {
        is_same = strcmp(pflag_arg(a, i), pflag_arg(b, i)) == 0;
    }
    for (size_t i = 0; is_same && i < pflag_count(a); i++) {
        buf_reset(&left);
        buf_reset(&right);
        pflag_format(pflag_at(a, i), &left);
        pflag_format(pflag_at(b, i), &right);
        is_same = is_ambiguous(pflag_at(a, i)) || slice_eq(buf_slice(&left), buf_slice(&right));
    }
    buf_fini(&left);
    buf_fini(&right);
    return is_same;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena);
    const char *words[WORDS_MAX + 1];
    const char *rest[WORDS_MAX];
    const char *again[2 * WORDS_MAX + 1];
    size_t rest_count = 0;
    struct command_path path;
    struct buf why = {0};
    size_t count = split(&arena, slice_of(data, size), words);
    if (command_find(&ctl__root, words, count, &path, rest, &rest_count, &why) == ERR_OK) {
        ASSERT(rest_count + path.depth - 1 == count);
        struct pflag_set *set = command_flags(&path, true);
        struct pflag_set *copy = command_flags(&path, true);
        enum err err = pflag_parse(set, rest, rest_count, &why);
        if (err == ERR_OK) {
            size_t again_count = write_words(&arena, set, again);
            err = pflag_parse(copy, again, again_count, &why);
            ASSERT(err == ERR_OK);
            ASSERT(same(set, copy));
        } else {
            ASSERT(err == ERR_NOT_FOUND || why.len > 0);
        }
        pflag_set_free(&set);
        pflag_set_free(&copy);
    } else {
        ASSERT(why.len > 0);
    }
    buf_fini(&why);
    arena_fini(&arena);
    return 0;
}
