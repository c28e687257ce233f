/* What etcdctl makes of the same lines was asked of fmt.Sscanf and etcdctl's own regular
 * expression. */
#include "ctl/txn_parse.h"

#include "codec/pb.h"
#include "ctl/goscan.h"

#include "unit.h"

struct fixture {
    struct arena arena;
    struct buf why;
    struct buf warning;
    const char *stdin_text;
};

static void begin(struct fixture *f)
{
    *f = (struct fixture){.stdin_text = ""};
    arena_init(&f->arena);
}

static void end(struct fixture *f)
{
    arena_fini(&f->arena);
    buf_fini(&f->why);
    buf_fini(&f->warning);
}

static void read_all(void *ctx, struct buf *out)
{
    struct fixture *f = ctx;
    buf_append_str(out, f->stdin_text);
}

static int compare(struct fixture *f, const char *line, Etcdserverpb__Compare **out)
{
    buf_reset(&f->why);
    return txn_parse_compare(&f->arena, slice_str(line), out, &f->why);
}

static int op(struct fixture *f, const char *line, Etcdserverpb__RequestOp **out)
{
    struct kv_input input = {.read_all = read_all, .ctx = f};
    buf_reset(&f->why);
    buf_reset(&f->warning);
    return txn_parse_op(&f->arena, slice_str(line), &input, out, &f->warning, &f->why);
}

#define assert_bytes(field, text)                                                                  \
    do {                                                                                           \
        assert_int_equal((field).len, sizeof(text) - 1);                                           \
        assert_memory_equal((field).data, text, sizeof(text) - 1);                                 \
    } while (0)

TEST(txn_parse, compares_of_every_target_and_operator)
{
    static const struct {
        const char *line;
        int target;
        int result;
        int64_t number;
    } cases[] = {
        {"ver(\"k\") = \"0\"", 0, 0, 0},
        {"version(\"k\") > \"12\"", 0, 1, 12},
        {"c(\"k\") < \"-3\"", 1, 2, -3},
        {"create(\"k\") != \"9223372036854775807\"", 1, 3, INT64_MAX},
        {"m(\"k\") = \"+7\"", 2, 0, 7},
        {"mod(\"k\")   =\t\"1\" and the rest does not matter", 2, 0, 1},
        {"mod( \"k\") = \"1\"", 2, 0, 1},
        {"mod(`k`) = `1`", 2, 0, 1},
    };
    struct fixture f;
    begin(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Etcdserverpb__Compare *got = NULL;
        assert_int_equal(compare(&f, cases[i].line, &got), CTL_OK);
        assert_int_equal(got->target, cases[i].target);
        assert_int_equal(got->result, cases[i].result);
        assert_int_equal(got->target_union_case, cases[i].target + 4);
        assert_int_equal(got->version, cases[i].number);
        assert_bytes(got->key, "k");
    }
    end(&f);
}

TEST(txn_parse, keys_and_values_in_go_quotes)
{
    struct fixture f;
    Etcdserverpb__Compare *got = NULL;
    begin(&f);
    assert_int_equal(compare(&f, "value(\"a\\x00\\n\\\"b\\101\\u00e9\") = \"\"", &got), CTL_OK);
    assert_bytes(got->key, "a\0\n\"bA\xc3\xa9");
    assert_int_equal(got->value.len, 0);
    assert_int_equal(got->target_union_case, ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE);
    assert_int_equal(compare(&f, "val(\"f(oo\") != \"x y\"", &got), CTL_OK);
    assert_bytes(got->key, "f(oo");
    assert_bytes(got->value, "x y");
    /* A byte that is no UTF-8 does not survive Go's scanner. */
    assert_int_equal(compare(&f, "val(\"\xff\") = \"\\xff\"", &got), CTL_OK);
    assert_bytes(got->key, "\xef\xbf\xbd");
    assert_bytes(got->value, "\xff");
    end(&f);
}

TEST(txn_parse, refuses_what_is_no_compare)
{
    static const struct {
        const char *line;
        int code;
        const char *why;
    } cases[] = {
        {"bogus", 3, "malformed comparison: bogus"},
        {"(", 3, "malformed comparison: (; got (\"\")  \"\""},
        {"lease(\"nokey\") = 0", 3,
         "malformed comparison: lease(\"nokey\") = 0; got lease(\"nokey\") = \"\""},
        {"ver(k) = \"1\"", 3, "malformed comparison: ver(k) = \"1\"; got ver(\"\")  \"\""},
        {"ver(\"k) = 1", 3, "malformed comparison: ver(\"k) = 1; got ver(\"\")  \"\""},
        {"ver(\"k\" ) = \"1\"", 3,
         "malformed comparison: ver(\"k\" ) = \"1\"; got ver(\"k\")  \"\""},
        {"ver(\"k\")= \"1\"", 3, "malformed comparison: ver(\"k\")= \"1\"; got ver(\"k\")  \"\""},
        {"ver(\"k\") =\"1\"", 3,
         "malformed comparison: ver(\"k\") =\"1\"; got ver(\"k\") =\"1\" \"\""},
        {"ver(\"\\q\") = \"1\"", 3,
         "malformed comparison: ver(\"\\q\") = \"1\"; got ver(\"\")  \"\""},
        {"ver(\"\\400\") = \"1\"", 3,
         "malformed comparison: ver(\"\\400\") = \"1\"; got ver(\"\")  \"\""},
        {"ver(\"\\ud800\") = \"1\"", 3,
         "malformed comparison: ver(\"\\ud800\") = \"1\"; got ver(\"\")  \"\""},
        {"ver(\"\\'\") = \"1\"", 3,
         "malformed comparison: ver(\"\\'\") = \"1\"; got ver(\"\")  \"\""},
        {"age(\"k\") = \"1\"", 3, "malformed comparison: age(\"k\") = \"1\" (unknown target age)"},
        {"ver(\"k\") = \"x\"", 3, "invalid txn compare request: ver(\"k\") = \"x\""},
        {"mod(\"k\") = \"0x1\"", 3, "invalid txn compare request: mod(\"k\") = \"0x1\""},
        {"mod(\"k\") = \"9223372036854775808\"", 3,
         "invalid txn compare request: mod(\"k\") = \"9223372036854775808\""},
        {"ver(\"k\") == \"1\"", 2,
         "malformed comparison: ver(\"k\") == \"1\" (unknown operator ==)"},
        {"lease(\"k\") = \"0\"", 2,
         "bad value: lease(\"k\") = \"0\" (a lease cannot be compared here)"},
    };
    struct fixture f;
    begin(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Etcdserverpb__Compare *got = NULL;
        assert_int_equal(compare(&f, cases[i].line, &got), cases[i].code);
        assert_string_equal(buf_cstr(&f.why), cases[i].why);
    }
    end(&f);
}

/* Each word in brackets, or the error. */
static const char *words(struct fixture *f, const char *line, struct buf *out)
{
    const char **list = NULL;
    size_t count = 0;
    buf_reset(out);
    if (txn_parse_words(&f->arena, slice_str(line), &list, &count, out) == CTL_OK) {
        for (size_t i = 0; i < count; i++) {
            buf_printf(out, "(%s)", list[i]);
        }
        assert_null(list[count]);
    }
    return buf_cstr(out);
}

TEST(txn_parse, splits_words_as_a_shell_nearly_would)
{
    static const struct {
        const char *line;
        const char *result;
    } cases[] = {
        {"", ""},
        {"foo bar  baz", "(foo)(bar)(baz)"},
        {"put k \"a b\"", "(put)(k)(a b)"},
        {"put k 'hello world'", "(put)(k)(hello world)"},
        {"put k ''", "(put)(k)()"},
        {"put k \"\"", "(put)(k)()"},
        {"put k \"q\\\"x\\n\"", "(put)(k)(q\"x\n)"},
        {"'a'b", "(a)(b)"},
        {"a\"b c\"d", "(a\"b)(c\"d)"},
        {"put k \"open", "(put)(k)(open)"},
        {"put k 'open x", "(put)(k)(open)(x)"},
        {"\"", ""},
        {"put k \"\\q\"", "invalid syntax"},
        {"put k \"\\x00\"", "a zero byte cannot be typed here"},
    };
    struct fixture f;
    struct buf out = {0};
    begin(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_string_equal(words(&f, cases[i].line, &out), cases[i].result);
    }
    buf_fini(&out);
    end(&f);
}

TEST(txn_parse, operations_take_the_flags_of_the_commands)
{
    struct fixture f;
    Etcdserverpb__RequestOp *got = NULL;
    begin(&f);
    assert_int_equal(op(&f, "put foo \"new value\" --prev-kv --lease=1f", &got), CTL_OK);
    assert_int_equal(got->request_case, ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT);
    assert_bytes(got->request_put->key, "foo");
    assert_bytes(got->request_put->value, "new value");
    assert_int_equal(got->request_put->lease, 0x1f);
    assert_true(got->request_put->prev_kv);
    assert_int_equal(op(&f, "get --prefix foo --limit 3 --order=descend --sort-by mod", &got), 4);
    assert_string_equal(buf_cstr(&f.why), "bad sort target mod");
    assert_int_equal(op(&f, "get --prefix foo --limit 3 --order=descend --sort-by modify", &got),
                     CTL_OK);
    assert_bytes(got->request_range->range_end, "fop");
    assert_int_equal(got->request_range->limit, 3);
    assert_int_equal(got->request_range->sort_order, 2);
    assert_int_equal(got->request_range->sort_target, 3);
    assert_int_equal(op(&f, "d a --from-key", &got), CTL_OK); /* a prefix of "del" */
    assert_int_equal(got->request_case, ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE);
    assert_bytes(got->request_delete_range->range_end, "\0");
    assert_int_equal(f.warning.len, 0);
    assert_int_equal(op(&f, "del a c", &got), CTL_OK);
    assert_true(slice_starts(buf_slice(&f.warning),
                             SLICE("Warning: Keys between \"a\" and \"c\" will be deleted.")));
    assert_int_equal(op(&f, "put k v --lease=-8000000000000000", &got), CTL_OK);
    assert_true(got->request_put->lease == INT64_MIN);
    assert_int_equal(op(&f, "put k v --lease=7FFFffffFFFFffff", &got), CTL_OK);
    assert_true(got->request_put->lease == INT64_MAX);
    f.stdin_text = "from stdin\n";
    assert_int_equal(op(&f, "put key", &got), CTL_OK);
    assert_bytes(got->request_put->value, "from stdin\n");
    assert_int_equal(op(&f, "put -- -key -value", &got), CTL_OK);
    assert_bytes(got->request_put->key, "-key");
    end(&f);
}

TEST(txn_parse, refuses_what_is_no_operation)
{
    static const struct {
        const char *line;
        int code;
        const char *why;
    } cases[] = {
        {"bad op", 3, "invalid txn request: bad op"},
        {"put", 3, "invalid txn compare request: put"},
        {"get foo --nosuch", 3, "invalid txn request: get foo --nosuch"},
        {"get foo -w json", 3, "invalid txn request: get foo -w json"},
        {"get foo --help", 3, "invalid txn request: get foo --help"},
        {"--prefix foo", 3, "invalid txn request: --prefix foo"},
        {"put foo", 128, "put command needs 1 argument and input from stdin or 2 arguments"},
        {"put foo x --ignore-value", 128,
         "put command needs only 1 argument when 'ignore-value' is set"},
        {"put foo x --lease=zz", 128,
         "bad lease ID (strconv.ParseInt: parsing \"zz\": invalid syntax), expecting ID in Hex"},
        {"put foo x --lease=", 128,
         "bad lease ID (strconv.ParseInt: parsing \"\": invalid syntax), expecting ID in Hex"},
        {"put foo x --lease=8000000000000000", 128,
         "bad lease ID (strconv.ParseInt: parsing \"8000000000000000\": value out of range), "
         "expecting ID in Hex"},
        {"get --prefix --from-key a", 128,
         "`--prefix` and `--from-key` cannot be set at the same time, choose one"},
        {"get --prefix a b", 128,
         "too many arguments, only accept one argument when `--prefix` or `--from-key` is set"},
        {"del a b c", 128,
         "del command needs one argument as key and an optional argument as range_end"},
        {"get a --consistency=x", 4, "unknown consistency flag \"x\""},
        {"get a --order=bad", 4, "bad sort order bad"},
        {"get a --min-mod-rev=3 --max-mod-rev=2", 4, "getMinModRev(=3) > getMaxModRev(=2)"},
    };
    struct fixture f;
    begin(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Etcdserverpb__RequestOp *got = NULL;
        assert_int_equal(op(&f, cases[i].line, &got), cases[i].code);
        assert_string_equal(buf_cstr(&f.why), cases[i].why);
    }
    end(&f);
}

TEST(txn_parse, ranges_of_prefixes_end_where_go_says)
{
    static const struct {
        const char *line;
        const char *key;
        size_t key_len;
        const char *end;
        size_t end_len;
    } cases[] = {
        {"get a b", "a", 1, "b", 1},
        {"get a \"\"", "a", 1, "", 0},
        {"get a --prefix", "a", 1, "b", 1},
        {"get \"a\\xff\\xff\" --prefix", "a\xff\xff", 3, "b", 1},
        {"get \"\\xff\" --prefix", "\xff", 1, "\0", 1},
        {"get \"\" --prefix", "\0", 1, "\0", 1},
        {"get \"\" --from-key", "\0", 1, "\0", 1},
        {"get b --from-key", "b", 1, "\0", 1},
        {"get a", "a", 1, "", 0},
    };
    struct fixture f;
    begin(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Etcdserverpb__RequestOp *got = NULL;
        assert_int_equal(op(&f, cases[i].line, &got), CTL_OK);
        assert_true(
            slice_eq(pb_bytes(got->request_range->key), slice_of(cases[i].key, cases[i].key_len)));
        assert_true(slice_eq(pb_bytes(got->request_range->range_end),
                             slice_of(cases[i].end, cases[i].end_len)));
    }
    end(&f);
}

TEST(txn_parse, sorting_keys_upwards_asks_for_no_sorting)
{
    struct fixture f;
    Etcdserverpb__RequestOp *got = NULL;
    begin(&f);
    assert_int_equal(op(&f, "get a --order=ASCEND", &got), CTL_OK);
    assert_int_equal(got->request_range->sort_order, 0);
    assert_int_equal(op(&f, "get a --order=ASCEND --sort-by=KEY", &got), CTL_OK);
    assert_int_equal(got->request_range->sort_order, 0);
    assert_int_equal(op(&f, "get a --order=ASCEND --sort-by=VALUE", &got), CTL_OK);
    assert_int_equal(got->request_range->sort_order, 1);
    assert_int_equal(op(&f, "get a --order=DESCEND", &got), CTL_OK);
    assert_int_equal(got->request_range->sort_order, 2);
    end(&f);
}

TEST(txn_parse, trims_white_space_as_unicode_has_it)
{
    assert_true(slice_eq(goscan_trim(SLICE(" \t\r\n a b \xc2\xa0\xe3\x80\x80\n")), SLICE("a b")));
    assert_int_equal(goscan_trim(SLICE("\xe2\x80\x83 \n")).len, 0);
    assert_int_equal(goscan_trim(SLICE("")).len, 0);
    assert_true(slice_eq(goscan_trim(SLICE("\xff x \xff")), SLICE("\xff x \xff")));
}
