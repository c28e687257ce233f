#include "base/url.h"

#include "unit.h"

#include <stdlib.h>

TEST(url, parts_and_text_are_net_urls)
{
    static const struct {
        const char *in;
        const char *text;
        const char *scheme;
        const char *host;
        const char *hostname;
        const char *port;
        const char *path;
    } cases[] = {
        {"http://127.0.0.1:2379", "http://127.0.0.1:2379", "http", "127.0.0.1:2379", "127.0.0.1",
         "2379", ""},
        {"HTTP://Host:1", "http://Host:1", "http", "Host:1", "Host", "1", ""},
        {"https://[::1]:2380", "https://[::1]:2380", "https", "[::1]:2380", "::1", "2380", ""},
        {"https://[fe80::1%25eth0]:1", "https://[fe80::1%25eth0]:1", "https", "[fe80::1%eth0]:1",
         "fe80::1%eth0", "1", ""},
        {"http://h:", "http://h:", "http", "h:", "h", "", ""},
        {"http://h", "http://h", "http", "h", "h", "", ""},
        {"http://u:p@h:1", "http://u:p@h:1", "http", "h:1", "h", "1", ""},
        {"http://h:1/", "http://h:1/", "http", "h:1", "h", "1", "/"},
        {"http://h:1?a=b", "http://h:1?a=b", "http", "h:1", "h", "1", ""},
        {"http://h:1?", "http://h:1?", "http", "h:1", "h", "1", ""},
        {"http://h:1#f", "http://h:1#f", "http", "h:1", "h", "1", ""},
        {"unix:///tmp/a b", "unix:///tmp/a%20b", "unix", "", "", "", "/tmp/a b"},
        {"unix:///tmp/a%20b", "unix:///tmp/a%20b", "unix", "", "", "", "/tmp/a b"},
        {"unix://localhost:100", "unix://localhost:100", "unix", "localhost:100", "localhost",
         "100", ""},
        {"unix:/x", "unix:/x", "unix", "", "", "", "/x"},
        {"unix:sock", "unix:sock", "unix", "", "", "", ""},
        {"*", "*", "", "", "", "", "*"},
        {"", "", "", "", "", "", ""},
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct url url;
        print_message("# %s\n", cases[i].in);
        assert_int_equal(url_parse(&arena, slice_str(cases[i].in), &url, NULL), ERR_OK);
        assert_string_equal(url.text, cases[i].text);
        assert_string_equal(url.scheme, cases[i].scheme);
        assert_string_equal(url.host, cases[i].host);
        assert_string_equal(url.hostname, cases[i].hostname);
        assert_string_equal(url.port, cases[i].port);
        assert_string_equal(url.path, cases[i].path);
    }
    arena_fini(&arena);
}

TEST(url, errors_are_net_urls)
{
    static const struct {
        const char *in;
        const char *sentence;
    } cases[] = {
        {"://x", "parse \"://x\": missing protocol scheme"},
        {"127.0.0.1:2379",
         "parse \"127.0.0.1:2379\": first path segment in URL cannot contain colon"},
        {"http://h:x", "parse \"http://h:x\": invalid port \":x\" after host"},
        {"http://[::1", "parse \"http://[::1\": missing ']' in host"},
        {"http://[::1]x", "parse \"http://[::1]x\": invalid port \"x\" after host"},
        {"http://a b:1", "parse \"http://a b:1\": invalid character \" \" in host name"},
        {"http://h%41:1", "parse \"http://h%41:1\": invalid URL escape \"%41\""},
        {"http://h:1/%zz", "parse \"http://h:1/%zz\": invalid URL escape \"%zz\""},
        {"http://h:1/%2", "parse \"http://h:1/%2\": invalid URL escape \"%2\""},
        {"http://h\x01:1", "parse \"http://h\\x01:1\": net/url: invalid control character in URL"},
        {"http://u\"@h:1", "parse \"http://u\\\"@h:1\": net/url: invalid userinfo"},
        {"http://h:1/%00", "parse \"http://h:1/%00\": a URL must not hide a zero byte"},
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct url url;
        struct errbuf why;
        assert_int_equal(url_parse(&arena, slice_str(cases[i].in), &url, &why), ERR_INVALID);
        assert_string_equal(why.text, cases[i].sentence);
    }
    arena_fini(&arena);
}

TEST(url, a_list_is_sorted_and_trimmed)
{
    struct arena arena;
    arena_init(&arena);
    struct url_list list;
    assert_int_equal(url_list_parse(&arena, SLICE(" http://b:1 ,http://a:2,http://a:10,http://b:1"),
                                    &list, NULL),
                     ERR_OK);
    assert_string_equal(url_list_text(&arena, &list),
                        "http://a:10,http://a:2,http://b:1,http://b:1");
    assert_int_equal(
        url_list_parse_unique(&arena, SLICE("http://b:1,http://a:2,http://b:1"), &list, NULL),
        ERR_OK);
    assert_string_equal(url_list_text(&arena, &list), "http://a:2,http://b:1");
    assert_string_equal(url_list_texts(&arena, &list)[1], "http://b:1");
    assert_int_equal(url_list_parse_unique(&arena, SLICE_EMPTY, &list, NULL), ERR_OK);
    assert_int_equal(list.count, 0);
    assert_string_equal(url_list_text(&arena, &list), "");
    arena_fini(&arena);
}

TEST(url, a_list_refuses_in_etcds_words)
{
    static const struct {
        const char *in;
        const char *sentence;
    } cases[] = {
        {"", "URL scheme must be http, https, unix, or unixs: "},
        {"localhost", "URL scheme must be http, https, unix, or unixs: localhost"},
        {"ftp://a:1", "URL scheme must be http, https, unix, or unixs: ftp://a:1"},
        {"localhost:2379", "URL scheme must be http, https, unix, or unixs: localhost:2379"},
        {"http://a:1,", "URL scheme must be http, https, unix, or unixs: "},
        {"http://a", "URL address does not have the form \"host:port\": http://a"},
        {"http://[::1]", "URL address does not have the form \"host:port\": http://[::1]"},
        {" http://a:1/x ", "URL must not contain a path: http://a:1/x"},
        {"http://a:1,https://b:1/", "URL must not contain a path: https://b:1/"},
        {"1.2.3.4:1", "parse \"1.2.3.4:1\": first path segment in URL cannot contain colon"},
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct url_list list = {.count = 77};
        struct errbuf why;
        assert_int_equal(url_list_parse(&arena, slice_str(cases[i].in), &list, &why), ERR_INVALID);
        assert_string_equal(why.text, cases[i].sentence);
        assert_int_equal(list.count, 77);
    }
    arena_fini(&arena);
}

TEST(url, limits_are_met_before_memory_is)
{
    struct arena arena;
    arena_init(&arena);
    struct buf text = {0};
    struct url_list list;
    struct url_map map;
    struct url url;
    struct errbuf why;
    for (int i = 0; i < URL_COUNT_MAX; i++) {
        buf_append_str(&text, "http://a:1,");
    }
    buf_append_str(&text, "http://a:1");
    assert_int_equal(url_list_parse(&arena, buf_slice(&text), &list, &why), ERR_INVALID);
    assert_string_equal(why.text, "a list may have at most 1024 URLs, this one has 1025");
    assert_int_equal(url_map_parse(&arena, buf_slice(&text), &map, &why), ERR_INVALID);
    assert_int_equal(url_parse(&arena, buf_slice(&text), &url, &why), ERR_INVALID);
    assert_int_equal(arena.used, 0);
    buf_fini(&text);
    arena_fini(&arena);
}

TEST(url, a_cluster_maps_names_to_sorted_urls)
{
    struct arena arena;
    arena_init(&arena);
    struct url_map map;
    assert_int_equal(
        url_map_parse(&arena, SLICE("b=http://b:2,,a=http://a:1,b=http://b:1,"), &map, NULL),
        ERR_OK);
    assert_int_equal(map.count, 2);
    assert_string_equal(map.items[0].name, "a");
    assert_string_equal(url_list_text(&arena, &url_map_find(&map, "b")->urls),
                        "http://b:1,http://b:2");
    assert_null(url_map_find(&map, "c"));
    assert_string_equal(url_map_text(&arena, &map), "a=http://a:1,b=http://b:1,b=http://b:2");
    assert_int_equal(url_map_parse(&arena, SLICE_EMPTY, &map, NULL), ERR_OK);
    assert_int_equal(map.count, 0);
    assert_string_equal(url_map_text(&arena, &map), "");
    arena_fini(&arena);
}

TEST(url, a_cluster_without_a_url_is_refused)
{
    struct arena arena;
    arena_init(&arena);
    struct url_map map;
    struct errbuf why;
    assert_int_equal(url_map_parse(&arena, SLICE("a"), &map, &why), ERR_INVALID);
    assert_string_equal(why.text, "URL scheme must be http, https, unix, or unixs: ");
    assert_int_equal(url_map_parse(&arena, SLICE("a=http://x"), &map, &why), ERR_INVALID);
    assert_string_equal(why.text, "URL address does not have the form \"host:port\": http://x");
    arena_fini(&arena);
}

TEST(url, names_that_only_differ_behind_a_zero_byte_are_refused)
{
    struct arena arena;
    arena_init(&arena);
    struct url_map map;
    struct errbuf why;
    assert_int_equal(url_map_parse(&arena, SLICE("a\0a=http://a:1,a=http://a:3"), &map, &why),
                     ERR_INVALID);
    assert_string_equal(why.text, "a member's name must not have a zero byte in it");
    arena_fini(&arena);
}

TEST(url, host_and_port_split_as_nets)
{
    static const struct {
        const char *in;
        const char *host;
        const char *port;
        const char *sentence;
    } cases[] = {
        {"a:1", "a", "1", NULL},
        {":1", "", "1", NULL},
        {"a:", "a", "", NULL},
        {"[::1]:2", "::1", "2", NULL},
        {"a:http", "a", "http", NULL},
        {"", NULL, NULL, "missing port in address"},
        {"a", NULL, NULL, "address a: missing port in address"},
        {"a:b:1", NULL, NULL, "address a:b:1: too many colons in address"},
        {"[::1", NULL, NULL, "address [::1: missing ']' in address"},
        {"[::1]", NULL, NULL, "address [::1]: missing port in address"},
        {"[::1]x:1", NULL, NULL, "address [::1]x:1: missing port in address"},
        {"[::1]:1:2", NULL, NULL, "address [::1]:1:2: too many colons in address"},
        {"a[:1", NULL, NULL, "address a[:1: unexpected '[' in address"},
        {"a]:1", NULL, NULL, "address a]:1: unexpected ']' in address"},
        {"[a]:]", NULL, NULL, "address [a]:]: unexpected ']' in address"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice host;
        struct slice port;
        struct errbuf why;
        print_message("# %s\n", cases[i].in);
        enum err err = host_port_split(slice_str(cases[i].in), &host, &port, &why);
        assert_int_equal(err, cases[i].sentence == NULL ? ERR_OK : ERR_INVALID);
        if (err == ERR_OK) {
            assert_true(slice_eq_str(host, cases[i].host));
            assert_true(slice_eq_str(port, cases[i].port));
        } else {
            assert_string_equal(why.text, cases[i].sentence);
        }
    }
}

TEST(url, ip_addresses_parse_as_nets)
{
    static const struct {
        const char *text;
        int family;
        const char *hex;
    } cases[] = {
        {"127.0.0.1", 4, "7f000001"},
        {"0.0.0.0", 4, "00000000"},
        {"255.255.255.255", 4, "ffffffff"},
        {"::", 6, "00000000000000000000000000000000"},
        {"::1", 6, "00000000000000000000000000000001"},
        {"1::", 6, "00010000000000000000000000000000"},
        {"2001:db8::a:b", 6, "20010db80000000000000000000a000b"},
        {"1:2:3:4:5:6:7:8", 6, "00010002000300040005000600070008"},
        {"::ffff:1.2.3.4", 6, "00000000000000000000ffff01020304"},
        {"1:2:3:4:5:6:1.2.3.4", 6, "00010002000300040005000601020304"},
        {"1:2:3:4:5:6:7::", 6, "00010002000300040005000600070000"},
        {"256.0.0.1", 0, ""},
        {"1.2.3", 0, ""},
        {"1.2.3.4.5", 0, ""},
        {"01.2.3.4", 0, ""},
        {"1..2.3", 0, ""},
        {"", 0, ""},
        {":", 0, ""},
        {":1", 0, ""},
        {"1:", 0, ""},
        {"1:2:3:4:5:6:7", 0, ""},
        {"1:2:3:4:5:6:7:8:9", 0, ""},
        {"1::2::3", 0, ""},
        {":::", 0, ""},
        {"12345::", 0, ""},
        {"1:2:3:4::5:6:7:8", 0, ""},
        {"::1.2.3", 0, ""},
        {"1.2.3.4::", 0, ""},
        {"fe80::1%eth0", 0, ""},
        {"localhost", 0, ""},
        {"::g", 0, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t bytes[16];
        struct buf hex = {0};
        print_message("# %s\n", cases[i].text);
        int family = ip_parse(slice_str(cases[i].text), bytes);
        assert_int_equal(family, cases[i].family);
        buf_append_hex(&hex, slice_of(bytes, family == 4 ? 4 : family == 6 ? 16 : 0));
        assert_string_equal(buf_cstr(&hex), cases[i].hex);
        buf_fini(&hex);
    }
    assert_int_equal(ip_parse(SLICE("::1"), NULL), 6);
}
