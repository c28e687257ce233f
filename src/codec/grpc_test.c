#include "codec/grpc.h"

#include "unit.h"

TEST(grpc, status_names_are_gos)
{
    assert_string_equal(grpc_status_name(GRPC_OK), "OK");
    assert_string_equal(grpc_status_name(GRPC_CANCELED), "Canceled");
    assert_string_equal(grpc_status_name(GRPC_UNAUTHENTICATED), "Unauthenticated");
    assert_string_equal(grpc_status_name(17), "Code(17)");
    assert_string_equal(grpc_status_name(UINT32_MAX), "Code(4294967295)");
    assert_int_equal(grpc_status_http(GRPC_CANCELED), 499);
    assert_int_equal(grpc_status_of_http(503), GRPC_UNAVAILABLE);
    assert_int_equal(grpc_status_of_http(418), GRPC_UNKNOWN);
}

TEST(grpc, content_types)
{
    static const struct {
        const char *text;
        const char *subtype; /* NULL: refused */
    } cases[] = {
        {"application/grpc", ""},
        {"application/grpc+proto", "proto"},
        {"application/grpc;x=y", "x=y"},
        {"application/grpc+", ""},
        {"application/grpcweb", NULL},
        {"application/grpc-web", NULL},
        {"application/json", NULL},
        {"text/plain", NULL},
        {"", NULL},
        {"application/grp", NULL},
        {"Application/grpc", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice subtype;
        bool is_grpc = grpc_content_type(slice_str(cases[i].text), &subtype);
        assert_int_equal(is_grpc, cases[i].subtype != NULL);
        if (is_grpc) {
            assert_true(slice_eq_str(subtype, cases[i].subtype));
        }
    }
}

TEST(grpc, timeouts_of_every_unit)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } cases[] = {
        {"1n", 1},
        {"0n", 0},
        {"7u", 7000},
        {"20m", 20000000},
        {"5S", 5000000000},
        {"2M", 120000000000},
        {"1H", 3600000000000},
        {"99999999n", 99999999},
        {"99999999M", 5999999940000000000},
        {"99999999H", INT64_MAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t ns = 12345;
        struct errbuf why;
        assert_int_equal(grpc_timeout_parse(slice_str(cases[i].text), &ns, &why), ERR_OK);
        assert_true(ns == cases[i].ns);
    }
}

TEST(grpc, bad_timeouts_are_refused_with_a_sentence)
{
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"", "transport: timeout string is too short: \"\""},
        {"S", "transport: timeout string is too short: \"S\""},
        {"123456789S", "transport: timeout string is too long: \"123456789S\""},
        {"10x", "transport: timeout unit is not recognized: \"10x\""},
        {"10s", "transport: timeout unit is not recognized: \"10s\""},
        {"-1S", "strconv.ParseUint: parsing \"-1\": invalid syntax"},
        {"1.5S", "strconv.ParseUint: parsing \"1.5\": invalid syntax"},
        {" 1S", "strconv.ParseUint: parsing \" 1\": invalid syntax"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t ns = 12345;
        struct errbuf why;
        assert_int_equal(grpc_timeout_parse(slice_str(cases[i].text), &ns, &why), ERR_INVALID);
        assert_string_equal(why.text, cases[i].why);
        assert_int_equal(ns, 12345);
    }
}

TEST(grpc, a_formatted_timeout_is_never_shorter)
{
    uint64_t cases[] = {1,
                        999,
                        99999999,
                        100000000,
                        123456789,
                        5000000000,
                        99999999999999,
                        3600000000000,
                        1ull << 62,
                        INT64_MAX - 1,
                        1};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[GRPC_TIMEOUT_TEXT];
        uint64_t ns;
        grpc_timeout_format(cases[i], text);
        assert_in_range(strlen(text), 2, 9);
        assert_int_equal(grpc_timeout_parse(slice_str(text), &ns, NULL), ERR_OK);
        assert_true(ns >= cases[i]);
        assert_true(ns - cases[i] <= cases[i] / 10000 + 1);
    }
}

TEST(grpc, messages_are_percent_encoded_as_grpc_go)
{
    static const struct {
        const char *plain;
        const char *encoded;
    } cases[] = {
        {"", ""},
        {"etcdserver: key is not provided", "etcdserver: key is not provided"},
        {"100%", "100%25"},
        {"a\nb\tc", "a%0Ab%09c"},
        {"~ ~", "~ ~"},
        {"\x7f", "%7F"},
        {"k\xc3\xa9y", "k%C3%A9y"},
        {"\xe2\x82\xac\xf0\x9f\x98\x80", "%E2%82%AC%F0%9F%98%80"},
        {"bad \xff utf", "bad %EF%BF%BD utf"},
        {"\xc3", "%EF%BF%BD"},
        {"\xed\xa0\x80", "%EF%BF%BD%EF%BF%BD%EF%BF%BD"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = {0};
        grpc_message_encode(slice_str(cases[i].plain), &out);
        assert_string_equal(buf_cstr(&out), cases[i].encoded);
        struct buf back = {0};
        grpc_message_decode(buf_slice(&out), &back);
        if (strstr(cases[i].encoded, "%EF%BF%BD") == NULL) {
            assert_string_equal(buf_cstr(&back), cases[i].plain);
        }
        buf_fini(&out);
        buf_fini(&back);
    }
}

TEST(grpc, a_bad_escape_is_left_alone)
{
    static const char *const cases[] = {"%", "%4", "%zz", "50%", "%%%", "%4g"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = {0};
        grpc_message_decode(slice_str(cases[i]), &out);
        assert_string_equal(buf_cstr(&out), cases[i]);
        buf_fini(&out);
    }
}

TEST(grpc, binary_metadata_with_and_without_padding)
{
    struct arena arena;
    struct slice out;
    arena_init(&arena);
    assert_int_equal(grpc_metadata_decode(SLICE("AP8="), &arena, &out), ERR_OK);
    assert_true(slice_eq(out, SLICE("\x00\xff")));
    assert_int_equal(grpc_metadata_decode(SLICE("AP8"), &arena, &out), ERR_OK);
    assert_true(slice_eq(out, SLICE("\x00\xff")));
    assert_int_equal(grpc_metadata_decode(SLICE(""), &arena, &out), ERR_OK);
    assert_int_equal(out.len, 0);
    assert_int_equal(grpc_metadata_decode(SLICE("A"), &arena, &out), ERR_INVALID);
    assert_int_equal(grpc_metadata_decode(SLICE("A!8="), &arena, &out), ERR_INVALID);
    struct buf text = {0};
    grpc_metadata_encode(SLICE("\x00\xff"), &text);
    assert_string_equal(buf_cstr(&text), "AP8");
    buf_fini(&text);
    arena_fini(&arena);
    assert_true(grpc_metadata_is_binary(SLICE("trace-bin")));
    assert_false(grpc_metadata_is_binary(SLICE("bin")));
    assert_true(grpc_metadata_is_reserved(SLICE(":path")));
    assert_true(grpc_metadata_is_reserved(SLICE("te")));
    assert_false(grpc_metadata_is_reserved(SLICE("token")));
}

/* ---- framing --------------------------------------------------------------------------------- */

/* Three messages of 0, 3 and 300 bytes, the second compressed. */
static void make_stream(struct buf *out)
{
    uint8_t prefix[GRPC_PREFIX_LEN];
    grpc_prefix_put(prefix, false, 0);
    buf_append(out, prefix, sizeof(prefix));
    grpc_prefix_put(prefix, true, 3);
    buf_append(out, prefix, sizeof(prefix));
    buf_append_str(out, "abc");
    grpc_prefix_put(prefix, false, 300);
    buf_append(out, prefix, sizeof(prefix));
    memset(buf_extend(out, 300), 'z', 300);
}

/* Cuts it in pieces of `step` bytes. */
static void deframe(struct slice all, size_t step)
{
    static const size_t lens[] = {0, 3, 300};
    struct grpc_deframer deframer;
    size_t count = 0;
    grpc_deframer_init(&deframer, 300);
    while (all.len > 0) {
        size_t part = all.len < step ? all.len : step;
        struct slice in = slice_of(all.data, part);
        all = slice_skip(all, part);
        for (;;) {
            struct grpc_frame frame;
            enum err err = grpc_deframer_next(&deframer, &in, &frame);
            if (err == ERR_AGAIN) {
                assert_int_equal(in.len, 0);
                break;
            }
            assert_int_equal(err, ERR_OK);
            assert_in_range(count, 0, 2);
            assert_int_equal(frame.data.len, lens[count]);
            assert_int_equal(frame.compressed, count == 1);
            if (count == 1) {
                assert_true(slice_eq_str(frame.data, "abc"));
            }
            count++;
            assert_true(grpc_deframer_between(&deframer));
        }
    }
    assert_int_equal(count, 3);
    grpc_deframer_fini(&deframer);
}

TEST(grpc, messages_come_out_whole_however_they_trickle_in)
{
    struct buf all = {0};
    make_stream(&all);
    for (size_t step = 1; step <= all.len; step++) {
        deframe(buf_slice(&all), step);
    }
    buf_fini(&all);
}

TEST(grpc, an_announced_length_over_the_limit_is_refused_before_it_is_stored)
{
    struct grpc_deframer deframer;
    struct grpc_frame frame;
    struct slice in = SLICE("\x00\x00\x00\x01\x2d rest");
    grpc_deframer_init(&deframer, 300);
    assert_int_equal(grpc_deframer_next(&deframer, &in, &frame), ERR_TOO_LARGE);
    assert_int_equal(deframer.len, 301);
    assert_int_equal(deframer.partial.cap, 0);
    grpc_deframer_fini(&deframer);
}

TEST(grpc, an_unknown_flag_is_refused)
{
    struct grpc_deframer deframer;
    struct grpc_frame frame;
    struct slice in = SLICE("\x02\x00\x00\x00\x00");
    grpc_deframer_init(&deframer, 300);
    assert_int_equal(grpc_deframer_next(&deframer, &in, &frame), ERR_CORRUPT);
    assert_int_equal(deframer.prefix[0], 2);
    grpc_deframer_fini(&deframer);
}

TEST(grpc, memory_grows_with_what_arrived_not_with_what_was_announced)
{
    struct grpc_deframer deframer;
    struct grpc_frame frame;
    struct slice in = SLICE("\x00\x40\x00\x00\x00only this");
    grpc_deframer_init(&deframer, UINT32_MAX);
    assert_int_equal(grpc_deframer_next(&deframer, &in, &frame), ERR_AGAIN);
    assert_false(grpc_deframer_between(&deframer));
    assert_in_range(deframer.partial.cap, 9, 4096);
    grpc_deframer_reset(&deframer, 0);
    assert_int_equal(deframer.partial.cap, 0);
    assert_true(grpc_deframer_between(&deframer));
    grpc_deframer_fini(&deframer);
}
