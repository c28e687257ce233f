/* Lines of a transaction. Whatever parses is written out again in quotes and parses to the same. */
#include "ctl/txn_parse.h"

#include "base/gotext.h"
#include "codec/pb.h"
#include "ctl/goscan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_nothing(void *ctx, struct buf *out)
{
    (void)ctx;
    (void)out;
}

static void check_words(struct arena *arena, struct slice line)
{
    const char **words = NULL;
    const char **again = NULL;
    size_t count = 0;
    size_t again_count = 0;
    struct buf why = {0};
    struct buf text = {0};
    if (txn_parse_words(arena, line, &words, &count, &why) == CTL_OK) {
        for (size_t i = 0; i < count; i++) {
            go_quote(slice_str(words[i]), &text);
            buf_append_byte(&text, ' ');
        }
        int code = txn_parse_words(arena, buf_slice(&text), &again, &again_count, &why);
        ASSERT(code == CTL_OK);
        ASSERT(again_count == count);
        for (size_t i = 0; i < count; i++) {
            ASSERT(strcmp(words[i], again[i]) == 0);
        }
    } else {
        ASSERT(why.len > 0);
    }
    buf_fini(&why);
    buf_fini(&text);
}

static void write_compare(const Etcdserverpb__Compare *compare, struct buf *out)
{
    static const char *const targets[] = {"version", "create", "mod", "value"};
    static const char *const results[] = {"=", ">", "<", "!="};
    buf_printf(out, "%s(", targets[compare->target]);
    go_quote(pb_bytes(compare->key), out);
    buf_printf(out, ") %s ", results[compare->result]);
    if (compare->target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE) {
        go_quote(pb_bytes(compare->value), out);
    } else {
        buf_printf(out, "\"%lld\"", (long long)compare->version);
    }
}

static void check_compare(struct arena *arena, struct slice line)
{
    Etcdserverpb__Compare *compare = NULL;
    Etcdserverpb__Compare *again = NULL;
    struct buf why = {0};
    struct buf text = {0};
    if (txn_parse_compare(arena, line, &compare, &why) == CTL_OK) {
        write_compare(compare, &text);
        int code = txn_parse_compare(arena, buf_slice(&text), &again, &why);
        ASSERT(code == CTL_OK);
        ASSERT(slice_eq(pb_encode_arena(compare, arena), pb_encode_arena(again, arena)));
    } else {
        ASSERT(why.len > 0);
    }
    buf_fini(&why);
    buf_fini(&text);
}

static void check_op(struct arena *arena, struct slice line)
{
    static const struct kv_input nothing = {.read_all = read_nothing};
    Etcdserverpb__RequestOp *op = NULL;
    struct buf why = {0};
    struct buf warning = {0};
    if (txn_parse_op(arena, line, &nothing, &op, &warning, &why) == CTL_OK) {
        /* What the client sends, the server's decoder takes. */
        struct slice bytes = pb_encode_arena(op, arena);
        Etcdserverpb__RequestOp *decoded = NULL;
        enum err err =
            pb_decode(arena, &etcdserverpb__request_op__descriptor, bytes, &decoded, NULL);
        ASSERT(err == ERR_OK);
        ASSERT(decoded->request_case == op->request_case);
    } else {
        ASSERT(why.len > 0);
    }
    buf_fini(&why);
    buf_fini(&warning);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena);
    for (struct slice rest = slice_of(data, size); rest.len > 0;) {
        struct slice line;
        rest = slice_split(rest, '\n', &line);
        line = goscan_trim(line);
        if (line.len > 0) {
            check_words(&arena, line);
            check_compare(&arena, line);
            check_op(&arena, line);
        }
    }
    arena_fini(&arena);
    return 0;
}
