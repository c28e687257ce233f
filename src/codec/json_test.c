#include "codec/json.h"

#include "unit.h"

TEST(json, a_tree_keeps_order_and_all_64_bits)
{
    struct arena arena;
    struct json *json = NULL;
    arena_init(&arena);
    assert_int_equal(json_parse(&arena,
                                SLICE(" {\"id\":14841639068965178418,\"n\":-7,\"u\":[\"a\",\"b\"],"
                                      "\"t\":true,\"z\":null,\"d\":1.5} "),
                                &json, NULL),
                     ERR_OK);
    uint64_t id = 0;
    assert_int_equal(json_to_u64(json_get(json, "id"), &id), ERR_OK);
    assert_true(id == 14841639068965178418u);
    assert_int_equal(json_to_u64(json_get(json, "n"), &id), ERR_INVALID);
    assert_int_equal(json_to_u64(json_get(json, "nope"), &id), ERR_NOT_FOUND);
    assert_int_equal(json_to_u64(json_get(json, "d"), &id), ERR_INVALID);
    const struct json *u = json_get(json, "u");
    assert_int_equal(u->children.count, 2);
    assert_true(slice_eq_str(json_string_or(u->children.first->next, SLICE_EMPTY), "b"));
    assert_true(json_bool_or(json_get(json, "t"), false));
    assert_true(json_bool_or(json_get(json, "z"), true));
    assert_null(json_get(u, "t"));
    arena_fini(&arena);
}

TEST(json, bad_text_is_refused_with_its_place)
{
    static const char *const bad[] = {"",         "{",   "{bad", "[1,]",      "{\"a\":1,}", "nul",
                                      "\"\xff\"", "1 2", "{}x",  "\"\\u12\"", "[1 2]"};
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct json *json = NULL;
        struct errbuf why;
        assert_int_equal(json_parse(&arena, slice_str(bad[i]), &json, &why), ERR_CORRUPT);
        assert_null(json);
        assert_memory_equal(why.text, "JSON: ", 6);
    }
    struct buf deep = {0};
    for (int i = 0; i < 100000; i++) {
        buf_append_byte(&deep, '[');
    }
    struct json *json = NULL;
    assert_int_equal(json_parse(&arena, buf_slice(&deep), &json, NULL), ERR_CORRUPT);
    buf_fini(&deep);
    arena_fini(&arena);
}

/* json-c takes a surrogate, and what would be above U+10FFFF or shorter otherwise. */
TEST(json, text_that_is_not_utf8_is_refused)
{
    static const char *const bad[] = {"\"\xf7\xa9\xa9\xa0\"", "\"\xed\xa0\x80\"", "\"\xc0\xaf\"",
                                      "\"\xf5\x80\x80\x80\"", "{\"\xe0\x80\x80\":1}"};
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct json *json = NULL;
        struct errbuf why;
        assert_int_equal(json_parse(&arena, slice_str(bad[i]), &json, &why), ERR_CORRUPT);
        assert_string_equal(why.text, "JSON: invalid UTF-8");
    }
    arena_fini(&arena);
}

TEST(json, bare_values_are_values)
{
    struct arena arena;
    struct json *json = NULL;
    arena_init(&arena);
    assert_int_equal(json_parse(&arena, SLICE("42"), &json, NULL), ERR_OK);
    assert_int_equal(json->integer, 42);
    assert_int_equal(json_parse(&arena, SLICE("\"x\\u0041\""), &json, NULL), ERR_OK);
    assert_true(slice_eq_str(json->string, "xA"));
    assert_int_equal(json_parse(&arena, SLICE("null"), &json, NULL), ERR_OK);
    assert_int_equal(json->kind, JSON_NULL);
    arena_fini(&arena);
}

TEST(json, strings_are_escaped_as_go_does)
{
    static const char *const pairs[][2] = {
        {"plain", "\"plain\""},
        {"a\"b\\c", "\"a\\\"b\\\\c\""},
        {"\n\r\t\x01", "\"\\n\\r\\t\\u0001\""},
        {"<a&b>", "\"\\u003ca\\u0026b\\u003e\""},
        {"\xe2\x80\xa8\xe2\x80\xa9", "\"\\u2028\\u2029\""},
        {"h\xc3\xa9", "\"h\xc3\xa9\""},
        {"\xff\xc0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
        {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
        {"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        struct buf out = {0};
        json_append_string(&out, slice_str(pairs[i][0]));
        assert_string_equal(buf_cstr(&out), pairs[i][1]);
        buf_fini(&out);
    }
}
