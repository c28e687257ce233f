#include "codec/pbjson.h"

#include "codec/gojson.h"

#include "rpc.pb-c.h"
#include "unit.h"

#define RANGE (&etcdserverpb__range_request__descriptor)
#define TXN (&etcdserverpb__txn_request__descriptor)
#define WATCH (&etcdserverpb__watch_request__descriptor)
#define MEMBER_ADD (&etcdserverpb__member_add_request__descriptor)
#define HASH (&etcdserverpb__hash_kvresponse__descriptor)

static enum err read_json(struct arena *arena, const ProtobufCMessageDescriptor *type,
                          const char *text, void *out, struct errbuf *why)
{
    struct slice rest = slice_str(text);
    struct slice value = SLICE_EMPTY;
    enum err err = gojson_next(&rest, &value, why);
    return err == ERR_OK ? pbjson_decode(arena, type, value, out, why) : err;
}

/* Reads, and writes again. */
static void assert_round(const ProtobufCMessageDescriptor *type, const char *text,
                         const char *expected)
{
    struct arena arena;
    struct buf out = {0};
    struct errbuf why = {{0}};
    void *message = NULL;
    arena_init(&arena);
    enum err err = read_json(&arena, type, text, &message, &why);
    assert_string_equal(why.text, "");
    assert_int_equal(err, ERR_OK);
    pbjson_encode(message, PBJSON_PROTO, &out);
    assert_string_equal(buf_cstr(&out), expected);
    buf_fini(&out);
    arena_fini(&arena);
}

static void assert_refused(const ProtobufCMessageDescriptor *type, const char *text,
                           const char *expected)
{
    struct arena arena;
    struct errbuf why = {{0}};
    void *message = NULL;
    arena_init(&arena);
    assert_int_not_equal(read_json(&arena, type, text, &message, &why), ERR_OK);
    assert_string_equal(why.text, expected);
    assert_null(message);
    arena_fini(&arena);
}

TEST(pbjson, names_are_taken_in_both_forms_and_written_as_in_the_proto)
{
    assert_round(RANGE, "{\"key\":\"Zm9v\",\"rangeEnd\":\"Zm9w\",\"limit\":5}",
                 "{\"key\":\"Zm9v\",\"range_end\":\"Zm9w\",\"limit\":\"5\"}");
    assert_round(RANGE, "{\"range_end\":\"AA==\"}", "{\"range_end\":\"AA==\"}");
    assert_round(MEMBER_ADD, "{\"peerURLs\":[\"http://a\",\"\\u00e9\\n<\"],\"isLearner\":true}",
                 "{\"peerURLs\":[\"http://a\",\"\xc3\xa9\\n<\"],\"isLearner\":true}");
}

TEST(pbjson, zero_fields_nulls_and_unknown_fields_leave_nothing)
{
    assert_round(RANGE, "{}", "{}");
    assert_round(RANGE, "{\"key\":null,\"limit\":0,\"serializable\":false,\"sort_order\":\"NONE\"}",
                 "{}");
    assert_round(RANGE, "{\"nope\":{\"a\":[1,{\"b\":\"]}\"}],\"c\":\"\\\"\"},\"limit\":\"1\"}",
                 "{\"limit\":\"1\"}");
}

TEST(pbjson, whole_numbers_come_in_any_notation)
{
    static const char *const forms[][2] = {
        {"7", "7"},
        {"\"7\"", "7"},
        {"7.0", "7"},
        {"70e-1", "7"},
        {"0.7e1", "7"},
        {"-3", "-3"},
        {"9223372036854775807", "9223372036854775807"},
        {"\"-9223372036854775808\"", "-9223372036854775808"},
        {"1e3", "1000"},
        {"12.50e1", "125"},
        {"1000000000000000000000e-20", "10"},
    };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        char text[128];
        char expected[128];
        snprintf(text, sizeof(text), "{\"limit\":%s}", forms[i][0]);
        snprintf(expected, sizeof(expected), "{\"limit\":\"%s\"}", forms[i][1]);
        assert_round(RANGE, text, expected);
    }
    assert_round(RANGE, "{\"limit\":-0.0}", "{}");
    assert_round(RANGE, "{\"limit\":0e999999999999}", "{}");
}

TEST(pbjson, base64_comes_in_both_alphabets_with_or_without_padding)
{
    static const char *const forms[] = {"+/8=", "-_8=", "+/8", "-_8"};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        char text[64];
        snprintf(text, sizeof(text), "{\"key\":\"%s\"}", forms[i]);
        assert_round(RANGE, text, "{\"key\":\"+/8=\"}");
    }
}

TEST(pbjson, enums_are_read_by_name_or_number_and_written_by_name)
{
    assert_round(RANGE, "{\"sort_order\":\"DESCEND\",\"sortTarget\":3}",
                 "{\"sort_order\":\"DESCEND\",\"sort_target\":\"MOD\"}");
    assert_round(RANGE, "{\"sort_order\":77}", "{\"sort_order\":77}");
    assert_round(RANGE, "{\"sort_order\":\"SIDEWAYS\"}", "{}");
    assert_round(WATCH, "{\"create_request\":{\"filters\":[\"NODELETE\",0]}}",
                 "{\"create_request\":{\"filters\":[\"NODELETE\",\"NOPUT\"]}}");
}

TEST(pbjson, a_transaction_nests)
{
    assert_round(TXN,
                 "{\"compare\":[{\"result\":\"GREATER\",\"target\":\"VERSION\",\"key\":\"YQ==\","
                 "\"version\":\"0\"}],\"success\":[{\"requestPut\":{\"key\":\"YQ==\"}},"
                 "{\"request_txn\":{\"failure\":[{\"request_range\":{}}]}}]}",
                 "{\"compare\":[{\"result\":\"GREATER\",\"key\":\"YQ==\",\"version\":\"0\"}],"
                 "\"success\":[{\"request_put\":{\"key\":\"YQ==\"}},"
                 "{\"request_txn\":{\"failure\":[{\"request_range\":{}}]}}]}");
}

TEST(pbjson, small_numbers_stay_numbers)
{
    assert_round(HASH, "{\"hash\":4294967295,\"compact_revision\":-1}",
                 "{\"hash\":4294967295,\"compact_revision\":\"-1\"}");
}

/* The sentences and places are protojson's. */
TEST(pbjson, refusals_name_the_place_and_the_field)
{
    static const struct {
        const char *text;
        const char *why;
    } rows[] = {
        {"5", "proto: syntax error (line 1:1): unexpected token 5"},
        {"[]", "proto: syntax error (line 1:1): unexpected token ["},
        {"{\"key\":\"%%%\"}", "proto: (line 1:8): invalid value for bytes field key: \"%%%\""},
        {"{\"key\":\"+_8=\"}", "proto: (line 1:8): invalid value for bytes field key: \"+_8=\""},
        {"{\"key\":\"QUJD=\"}", "proto: (line 1:8): invalid value for bytes field key: \"QUJD=\""},
        {"{\"key\":5}", "proto: (line 1:8): invalid value for bytes field key: 5"},
        {"{\n \"range_end\":{}}", "proto: (line 2:14): invalid value for bytes field rangeEnd: {"},
        {"{\"limit\":1.5}", "proto: (line 1:10): invalid value for int64 field limit: 1.5"},
        {"{\"limit\":\" 1\"}", "proto: (line 1:10): invalid value for int64 field limit: \" 1\""},
        {"{\"limit\":\"\"}", "proto: (line 1:10): invalid value for int64 field limit: \"\""},
        {"{\"limit\":\"01\"}", "proto: (line 1:10): invalid value for int64 field limit: \"01\""},
        {"{\"limit\":9223372036854775808}",
         "proto: (line 1:10): invalid value for int64 field limit: 9223372036854775808"},
        {"{\"limit\":1e1000000000000}",
         "proto: (line 1:10): invalid value for int64 field limit: 1e1000000000000"},
        {"{\"limit\":true}", "proto: (line 1:10): invalid value for int64 field limit: true"},
        {"{\"serializable\":\"true\"}",
         "proto: (line 1:17): invalid value for bool field serializable: \"true\""},
        {"{\"sort_order\":1.5}", "proto: (line 1:15): invalid value for enum field sortOrder: 1.5"},
        {"{\"limit\":1,\"limit\":2}", "proto: (line 1:12): duplicate field \"limit\""},
        {"{\"range_end\":\"\",\"rangeEnd\":\"\"}",
         "proto: (line 1:17): duplicate field \"rangeEnd\""},
        {"{\"\\ud800\":1}",
         "proto: syntax error (line 1:3): invalid escape code \"\\ud800\" in string"},
        {"{\"key\":\"\xff\"}", "proto: syntax error (line 1:8): invalid UTF-8 in string"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_refused(RANGE, rows[i].text, rows[i].why);
    }
    assert_refused(TXN, "{\"success\":[{\"request_put\":{},\"request_range\":{}}]}",
                   "proto: (line 1:31): error parsing \"request_range\", oneof "
                   "etcdserverpb.RequestOp.request is already set");
    assert_refused(TXN, "{\"success\":{}}", "proto: syntax error (line 1:12): unexpected token {");
    assert_refused(MEMBER_ADD, "{\"peerURLs\":[\"a\\u0000b\"]}",
                   "proto: (line 1:14): invalid value for string field peerURLs: \"a\\u0000b\"");
}

TEST(pbjson, nesting_and_elements_have_limits)
{
    struct buf text = {0};
    for (size_t i = 0; i < PB_DEPTH_MAX / 2; i++) {
        buf_append_str(&text, "{\"success\":[{\"request_txn\":");
    }
    buf_append_str(&text, "{}");
    for (size_t i = 0; i < PB_DEPTH_MAX / 2; i++) {
        buf_append_str(&text, "}]}");
    }
    assert_refused(TXN, buf_cstr(&text), "message nested deeper than 128 levels");
    buf_reset(&text);
    buf_append_str(&text, "{\"compare\":[{}");
    for (size_t i = 0; i < PB_ELEMENTS_MAX; i++) {
        buf_append_str(&text, ",{}");
    }
    buf_append_str(&text, "]}");
    assert_refused(TXN, buf_cstr(&text), "message has more than 262144 elements");
    buf_fini(&text);
}

/* However a message is cut, its pieces make the same text. */
TEST(pbjson, a_message_in_pieces_is_the_same_text)
{
    static const char *const texts[] = {
        "{}",
        "{\"count\":\"3\"}",
        "{\"header\":{\"revision\":\"5\"}}",
        "{\"header\":{\"revision\":\"5\"},\"kvs\":[{\"key\":\"YQ==\"},{\"key\":\"Yg==\",\"value\":"
        "\"/w==\"},"
        "{}],\"more\":true,\"count\":\"3\"}",
        "{\"kvs\":[{\"key\":\"YQ==\"}]}",
    };
    const ProtobufCMessageDescriptor *type = &etcdserverpb__range_response__descriptor;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        for (size_t step = 1; step < 64; step++) {
            struct arena arena;
            void *message = NULL;
            struct buf out = {0};
            struct pbjson_pieces pieces;
            arena_init(&arena);
            assert_int_equal(read_json(&arena, type, texts[i], &message, NULL), ERR_OK);
            struct slice bytes = pb_encode_arena(message, &arena);
            pbjson_pieces_init(&pieces, type);
            do {
                size_t len = bytes.len < step ? bytes.len : step;
                pbjson_pieces_add(&pieces, slice_of(bytes.data, len), len == bytes.len, &out);
                bytes = slice_skip(bytes, len);
            } while (bytes.len > 0);
            assert_string_equal(buf_cstr(&out), texts[i]);
            pbjson_pieces_fini(&pieces);
            buf_fini(&out);
            arena_fini(&arena);
        }
    }
}
