#include "codec/http1.h"

#include "unit.h"

#include <stdio.h>

static const struct http1_limits limits = {.head_max = 4096, .field_max = 16, .body_max = 1000};

/* Feeds `text` in pieces of `step`; returns the first result that is not ERR_AGAIN. */
static enum err feed(struct http1 *parser, struct slice text, size_t step, struct slice *rest)
{
    while (text.len > 0) {
        size_t part = text.len < step ? text.len : step;
        struct slice in = slice_of(text.data, part);
        enum err err = http1_feed(parser, &in);
        text = slice_skip(text, part - in.len);
        if (err != ERR_AGAIN) {
            *rest = text;
            return err;
        }
        assert_int_equal(in.len, 0);
    }
    *rest = text;
    return ERR_AGAIN;
}

TEST(http1, a_request_is_the_same_however_it_trickles_in)
{
    struct slice text = SLICE("POST /v3/kv/put?a=%20b&c HTTP/1.1\r\n"
                              "Host: localhost:2379\r\n"
                              "X-Empty:\r\n"
                              "Content-Type:  application/json \r\n"
                              "Content-Length: 11\r\n"
                              "\r\n"
                              "hello worldGET");
    for (size_t step = 1; step <= text.len; step++) {
        struct http1 *parser = http1_new(&limits);
        struct slice rest;
        assert_true(http1_is_idle(parser));
        assert_int_equal(feed(parser, text, step, &rest), ERR_OK);
        assert_true(slice_eq_str(rest, "GET"));
        const struct http1_request *request = http1_request(parser);
        assert_true(slice_eq_str(request->method, "POST"));
        assert_true(slice_eq_str(request->target, "/v3/kv/put?a=%20b&c"));
        assert_true(slice_eq_str(request->host, "localhost:2379"));
        assert_true(slice_eq_str(request->body, "hello world"));
        assert_int_equal(request->field_count, 4);
        assert_true(slice_eq_str(request->fields[1].name, "X-Empty"));
        assert_int_equal(request->fields[1].value.len, 0);
        assert_true(slice_eq_str(request->fields[2].name, "Content-Type"));
        assert_true(slice_eq_str(request->fields[2].value, "application/json"));
        assert_int_equal(request->minor, 1);
        assert_true(request->keep_alive);
        http1_free(&parser);
    }
}

TEST(http1, pipelined_requests_come_one_by_one)
{
    struct slice text = SLICE("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
                              "POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                              "3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n"
                              "HEAD /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    static const char *const targets[] = {"/1", "/2", "/3"};
    static const char *const bodies[] = {"", "abcde", ""};
    for (size_t step = 1; step <= text.len; step++) {
        struct http1 *parser = http1_new(&limits);
        struct slice rest = text;
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(feed(parser, rest, step, &rest), ERR_OK);
            const struct http1_request *request = http1_request(parser);
            assert_true(slice_eq_str(request->target, targets[i]));
            assert_true(slice_eq_str(request->body, bodies[i]));
            assert_int_equal(request->is_head, i == 2);
            assert_int_equal(request->keep_alive, i != 2);
            http1_next(parser);
        }
        assert_int_equal(rest.len, 0);
        http1_free(&parser);
    }
}

TEST(http1, versions_decide_who_stays)
{
    static const struct {
        const char *text;
        bool keep_alive;
    } cases[] = {
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http1 *parser = http1_new(&limits);
        struct slice rest;
        assert_int_equal(feed(parser, slice_str(cases[i].text), 1000, &rest), ERR_OK);
        assert_int_equal(http1_request(parser)->keep_alive, cases[i].keep_alive);
        http1_free(&parser);
    }
}

static void refused(const char *text, size_t step, const char *status_line)
{
    struct http1 *parser = http1_new(&limits);
    struct slice rest;
    assert_int_equal(feed(parser, slice_str(text), step, &rest), ERR_INVALID);
    struct slice answer = http1_refusal(parser);
    assert_true(answer.len > strlen(status_line));
    assert_memory_equal(answer.data, status_line, strlen(status_line));
    /* Refused once, refused for ever. */
    struct slice more = SLICE("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(http1_feed(parser, &more), ERR_INVALID);
    http1_free(&parser);
}

TEST(http1, what_could_smuggle_or_is_malformed_is_refused)
{
    static const struct {
        const char *text;
        const char *answer;
    } cases[] = {
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: "
         "chunked\r\n\r\n0\r\n"
         "\r\n",
         "HTTP/1.1 400 Bad Request\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: "
         "5\r\n\r\n0\r\n"
         "\r\n",
         "HTTP/1.1 400 Bad Request\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
         "HTTP/1.1 400 Bad Request\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
         "HTTP/1.1 400 Bad Request\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
         "HTTP/1.1 400 Bad Request\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
         "HTTP/1.1 400 Bad Request\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n",
         "HTTP/1.1 413 Request Entity Too Large\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
         "HTTP/1.1 400 Bad Request\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         "fffffffffffffffff\r\n",
         "HTTP/1.1 400 Bad Request\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
         "HTTP/1.1 400 Bad Request\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", "HTTP/1.1 "},
        {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", "HTTP/1.1 400 Bad Request: invalid header name\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
         "HTTP/1.1 400 Bad Request\r\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
        {"GET / HTTP/1.1\nHost: a\nX: a\n b\n\n", "HTTP/1.1 400 Bad Request\r\n"},
        {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
         "HTTP/1.1 400 Bad Request\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n Content-Length: 5\r\n\r\nhello",
         "HTTP/1.1 400 Bad Request\r\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
        {"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
        {"GET / HTTP/1.1\rHost: a\r\n\r\n", "HTTP/1.1 "},
        {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
        {"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n",
         "HTTP/1.1 413 Request Entity Too Large\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
         "HTTP/1.1 413 Request Entity Too Large\r\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\nBad\x01Name: x\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
        {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request: missing required Host header\r\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
        {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
         "HTTP/1.1 400 Bad Request: malformed Host header\r\n"},
        {"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
         "HTTP/1.1 505 HTTP Version Not Supported: unsupported protocol version\r\n"},
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
         "HTTP/1.1 505 HTTP Version Not Supported: unsupported protocol version\r\n"},
        {"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
        {"GET / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n",
         "HTTP/1.1 417 Expectation Failed\r\n"},
        {"\x16\x03\x01\x02", "HTTP/1.1 400 Bad Request\r\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (cases[i].answer != NULL) {
            refused(cases[i].text, 1, cases[i].answer);
            refused(cases[i].text, 1000, cases[i].answer);
        }
    }
}

/* Only lines of a head can be folded: bodies and what comes behind them may look as they like. */
TEST(http1, lines_of_a_body_may_begin_with_blanks)
{
    struct slice text = SLICE("\r\nPOST / HTTP/1.1\r\nHost: a\r\nX:\r\nContent-Length: 9\r\n\r\n"
                              " a\r\n b\n\tc"
                              "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n");
    for (size_t step = 1; step <= text.len; step++) {
        struct http1 *parser = http1_new(&limits);
        struct slice rest;
        assert_int_equal(feed(parser, text, step, &rest), ERR_OK);
        assert_true(slice_eq_str(http1_request(parser)->body, " a\r\n b\n\tc"));
        http1_next(parser);
        assert_int_equal(feed(parser, rest, step, &rest), ERR_OK);
        assert_int_equal(http1_request(parser)->field_count, 2);
        http1_free(&parser);
    }
}

TEST(http1, a_body_in_chunks_meets_the_limit_too)
{
    struct buf text = {0};
    buf_append_str(&text, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (unsigned i = 0; i < 11; i++) {
        buf_append_str(&text, "64\r\n");
        memset(buf_extend(&text, 100), 'x', 100);
        buf_append_str(&text, "\r\n");
    }
    refused(buf_cstr(&text), 50, "HTTP/1.1 413 Request Entity Too Large\r\n");
    buf_fini(&text);
}

TEST(http1, heads_meet_their_limits)
{
    struct buf text = {0};
    buf_append_str(&text, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    memset(buf_extend(&text, 5000), 'x', 5000);
    refused(buf_cstr(&text), 100, "HTTP/1.1 431 Request Header Fields Too Large\r\n");
    buf_reset(&text);
    buf_append_str(&text, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (unsigned i = 0; i < 16; i++) {
        buf_printf(&text, "X%u: y\r\n", i);
    }
    buf_append_str(&text, "\r\n");
    refused(buf_cstr(&text), 1000, "HTTP/1.1 431 Request Header Fields Too Large\r\n");
    buf_reset(&text);
    buf_append_str(&text, "GET /");
    memset(buf_extend(&text, 5000), 'x', 5000);
    refused(buf_cstr(&text), 100, "HTTP/1.1 431 Request Header Fields Too Large\r\n");
    buf_reset(&text);
    /* Blank lines, blanks and trailers are no way around it. */
    for (unsigned i = 0; i < 3000; i++) {
        buf_append_str(&text, "\r\n");
    }
    refused(buf_cstr(&text), 100, "HTTP/1.1 431 Request Header Fields Too Large\r\n");
    buf_reset(&text);
    buf_append_str(&text, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
    for (unsigned i = 0; i < 1000; i++) {
        buf_append_str(&text, "Trailer: x\r\n");
    }
    refused(buf_cstr(&text), 100, "HTTP/1.1 431 Request Header Fields Too Large\r\n");
    buf_fini(&text);
}

TEST(http1, a_client_that_waits_is_told_to_go_on_once)
{
    struct http1 *parser = http1_new(&limits);
    struct slice rest;
    struct slice head = SLICE("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
                              "Expect: 100-continue\r\n\r\n");
    assert_int_equal(feed(parser, head, 7, &rest), ERR_AGAIN);
    assert_true(http1_has_head(parser));
    assert_true(http1_wants_continue(parser));
    assert_false(http1_wants_continue(parser));
    assert_int_equal(feed(parser, SLICE("abc"), 1, &rest), ERR_OK);
    assert_true(slice_eq_str(http1_request(parser)->body, "abc"));
    http1_next(parser);
    /* Without a body there is nothing to wait for. */
    struct slice none = SLICE("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n");
    assert_int_equal(feed(parser, none, 100, &rest), ERR_OK);
    assert_false(http1_wants_continue(parser));
    http1_free(&parser);
}

TEST(http1, dates)
{
    static const struct {
        int64_t seconds;
        const char *text;
    } cases[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {-1, "Wed, 31 Dec 1969 23:59:59 GMT"},
        {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
        {1763638320, "Thu, 20 Nov 2025 11:32:00 GMT"},
        {4102444799, "Thu, 31 Dec 2099 23:59:59 GMT"},
        {4107542400, "Mon, 01 Mar 2100 00:00:00 GMT"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[HTTP1_DATE_TEXT];
        http1_date(cases[i].seconds, text);
        assert_string_equal(text, cases[i].text);
    }
}

TEST(http1, response_heads)
{
    struct buf out = {0};
    struct http1_field fields[] = {{SLICE("Content-Type"), SLICE("application/json")},
                                   {SLICE("X-Split"), SLICE("a\r\nSet-Cookie: b")}};
    struct http1_response response = {
        .status = 200,
        .fields = fields,
        .field_count = 2,
        .framing = HTTP1_LENGTH,
        .body_len = 42,
    };
    http1_response_head(&out, &response);
    assert_string_equal(buf_cstr(&out), "HTTP/1.1 200 OK\r\n"
                                        "Content-Type: application/json\r\n"
                                        "X-Split: a  Set-Cookie: b\r\n"
                                        "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
                                        "Content-Length: 42\r\n\r\n");
    buf_reset(&out);
    response =
        (struct http1_response){.status = 404, .framing = HTTP1_CHUNKED, .connection = "close"};
    http1_response_head(&out, &response);
    http1_chunk_head(&out, 255);
    assert_string_equal(buf_cstr(&out), "HTTP/1.1 404 Not Found\r\n"
                                        "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
                                        "Connection: close\r\n"
                                        "Transfer-Encoding: chunked\r\n\r\nff\r\n");
    buf_fini(&out);
}
