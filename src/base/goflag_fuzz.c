/* Command lines of any bytes, words split at zeros, against a set with every kind of flag.
 *
 * Property: parsing ends with OK or with a sentence; what follows the flags is a tail of argv; a
 * duration that was read prints to a text that reads back as itself. */
#include "base/goflag.h"
#include "base/gotext.h"
#include "base/mem.h"

#define WORDS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err take(const struct goflag *flag, const char *value, struct errbuf *why)
{
    if (value[0] == 'b') {
        return errf(why, ERR_INVALID, "no value may begin with a b");
    }
    *(size_t *)flag->target += strlen(value);
    return ERR_OK;
}

static void check_duration(int64_t ns)
{
    struct buf text = {0};
    int64_t again;
    go_format_duration(ns, &text);
    enum err err = go_parse_duration(buf_slice(&text), &again, NULL);
    ASSERT(err == ERR_OK);
    ASSERT(again == ns);
    buf_fini(&text);
}

static void check_words(int argc, const char *const *argv)
{
    bool on = false;
    int64_t number = 0;
    uint64_t count = 0;
    uint64_t small = 0;
    double ratio = 0;
    int64_t wait_ns = 0;
    const char *name = "";
    size_t taken = 0;
    const struct goflag flags[] = {
        {.name = "b", .kind = GOFLAG_BOOL, .target = &on},
        {.name = "i", .kind = GOFLAG_INT, .target = &number},
        {.name = "u", .kind = GOFLAG_UINT, .target = &count},
        {.name = "s", .kind = GOFLAG_UINT32, .target = &small},
        {.name = "f", .kind = GOFLAG_FLOAT, .target = &ratio},
        {.name = "d", .kind = GOFLAG_DURATION, .target = &wait_ns},
        {.name = "n", .kind = GOFLAG_STRING, .target = &name},
        {.name = "t", .kind = GOFLAG_FUNC, .target = &taken, .fn = take},
        {.name = "v", .kind = GOFLAG_FUNC, .target = &taken, .fn = take, .is_bool_func = true},
    };
    struct goflag_set *set = goflag_new(flags, ARRAY_LEN(flags));
    struct errbuf why = {{0}};
    enum err err = goflag_parse(set, argc, argv, &why);
    ASSERT(err == ERR_OK || why.text[0] != 0);
    ASSERT(small <= UINT32_MAX);
    check_duration(wait_ns);
    if (err == ERR_OK) {
        size_t left = goflag_narg(set);
        ASSERT(left <= (size_t)argc);
        for (size_t i = 0; i < left; i++) {
            ASSERT(goflag_arg(set, i) == argv[(size_t)argc - left + i]);
        }
    }
    goflag_free(&set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *argv[WORDS_MAX];
    int argc = 0;
    char *copy = mem_alloc(size + 1);
    memcpy(copy, data, size);
    copy[size] = 0;
    for (size_t at = 0; at <= size && argc < WORDS_MAX; at += strlen(copy + at) + 1) {
        argv[argc++] = copy + at;
    }
    check_words(argc, argv);
    mem_free(copy);
    return 0;
}
