/* Escapes and queries of any bytes. Properties: bytes that are escaped, all of them, come back as
 * they were; a text without '%' and '+' means itself; parameters are found in order, as many as a
 * plain count of them says, and none behind the last; a cleaned path is clean. */
#include "net/http.h"

#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_escaped(struct slice in, struct arena *arena)
{
    struct buf text = {0};
    struct slice back;
    for (size_t i = 0; i < in.len; i++) {
        buf_printf(&text, "%%%02x", in.data[i]);
    }
    ASSERT(http_unescape(buf_slice(&text), true, arena, &back) == ERR_OK);
    ASSERT(slice_eq(back, in));
    buf_fini(&text);
}

static void check_plain(struct slice in, struct arena *arena)
{
    struct slice back;
    enum err err = http_unescape(in, true, arena, &back);
    bool is_plain = in.len == 0 ||
                    (memchr(in.data, '%', in.len) == NULL && memchr(in.data, '+', in.len) == NULL);
    if (is_plain) {
        ASSERT(err == ERR_OK);
        ASSERT(slice_eq(back, in));
    }
    ASSERT(err != ERR_OK || back.len <= in.len);
}

/* The names of parameters are the first byte of the input and those of the pairs in it. */
static void check_query(struct slice in, struct arena *arena)
{
    char name[2] = {in.len > 0 && in.data[0] != 0 ? (char)in.data[0] : 'a', 0};
    size_t found = 0;
    size_t pairs = 1;
    struct slice value;
    for (size_t i = 0; i < in.len; i++) {
        pairs += in.data[i] == '&';
    }
    while (http_query_get(in, name, found, arena, &value)) {
        ASSERT(value.len <= in.len);
        found++;
        ASSERT(found <= pairs);
    }
    ASSERT(!http_query_get(in, name, found + 1, arena, &value));
    /* One more at the end is one more found. */
    struct buf longer = {0};
    buf_append_slice(&longer, in);
    buf_printf(&longer, "&%%%02x=tail", (uint8_t)name[0]);
    ASSERT(http_query_get(buf_slice(&longer), name, found, arena, &value));
    ASSERT(slice_eq_str(value, "tail"));
    buf_fini(&longer);
}

/* A path that is clean has no part to be taken out, stays as it is, and reads back from a URL. */
static void check_path(struct slice in, struct arena *arena)
{
    struct slice clean = http_path_clean(in, arena);
    struct slice rest = slice_skip(clean, 1);
    struct slice back;
    struct buf text = {0};
    ASSERT(clean.data[0] == '/');
    ASSERT(clean.len <= in.len + 1);
    while (rest.len > 0) {
        struct slice part;
        rest = slice_split(rest, '/', &part);
        ASSERT(part.len > 0);
        ASSERT(!slice_eq_str(part, "."));
        ASSERT(!slice_eq_str(part, ".."));
    }
    ASSERT(slice_eq(http_path_clean(clean, arena), clean));
    http_path_escape(clean, &text);
    ASSERT(http_unescape(buf_slice(&text), false, arena, &back) == ERR_OK);
    ASSERT(slice_eq(back, clean));
    buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    struct arena arena;
    arena_init(&arena);
    check_escaped(in, &arena);
    check_plain(in, &arena);
    check_path(in, &arena);
    if (size <= 300) { /* the search is quadratic */
        check_query(in, &arena);
    }
    arena_fini(&arena);
    return 0;
}
