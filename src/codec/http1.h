/* HTTP/1.0 and 1.1 requests in, responses out, over llhttp. The door to llhttp.
 *
 * The parser takes bytes as they come and yields one whole request at a time; what follows (a
 * pipelined request) stays in the input. It is strict: both Content-Length and Transfer-Encoding,
 * bad chunks, repeated Host, control characters are refused, and what is refused has the status and
 * the text that Go's net/http would answer.
 *
 * Threads: one at a time. */
#ifndef CODEC_HTTP1_H
#define CODEC_HTTP1_H

#include "base/bytes.h"

struct http1_limits {
    size_t head_max;  /* bytes of request line and fields; also of trailers */
    size_t field_max; /* number of fields */
    size_t body_max;
};

struct http1_field {
    struct slice name; /* as sent */
    struct slice value;
};

/* Borrowed from the parser, until http1_next() or http1_free(). */
struct http1_request {
    struct slice method;
    struct slice target;
    struct slice host; /* the Host field, or empty */
    const struct http1_field *fields;
    size_t field_count;
    struct slice body;
    uint8_t minor; /* HTTP/1.minor */
    bool keep_alive;
    bool is_head;
};

struct http1;

struct http1 *http1_new(const struct http1_limits *limits);
void http1_free(struct http1 **parser);

/* Takes bytes off the front of *in up to the end of one request.
 *
 * ERR_OK     http1_request() is whole; call http1_next() before feeding more
 * ERR_AGAIN  *in is used up
 * ERR_INVALID  refused: http1_refusal() has the answer; the connection must be closed */
FALLIBLE http1_feed(struct http1 *parser, struct slice *in);
const struct http1_request *http1_request(const struct http1 *parser);

/* For a body that is taken while it comes. Once http1_has_head(), http1_request() has everything
 * but the body; http1_body() is what has come of that since http1_body_drop() last forgot it, which
 * is what `body_max` then limits. */
struct slice http1_body(const struct http1 *parser);
void http1_body_drop(struct http1 *parser);
/* Forgets the request and starts the next. */
void http1_next(struct http1 *parser);

/* The head is whole, the body is not, and the client waits to be told to go on: true once. */
bool http1_wants_continue(struct http1 *parser);
/* Nothing of a request has arrived since the last one. */
bool http1_is_idle(const struct http1 *parser);

/* Method, target and fields are complete. */
bool http1_has_head(const struct http1 *parser);

/* The whole answer to a refused request. Static storage or the parser's. */
struct slice http1_refusal(const struct http1 *parser);

/* ---- responses --------------------------------------------------------------------------- */

/* "OK", "Not Found", …; "" for what has no name. */
const char *http1_status_text(unsigned status);

enum http1_framing {
    HTTP1_LENGTH,  /* Content-Length: body_len */
    HTTP1_CHUNKED, /* Transfer-Encoding: chunked */
    HTTP1_CLOSE,   /* until the connection closes */
    HTTP1_NONE,    /* statuses that have no body: 1xx, 204, 304 */
};

struct http1_response {
    unsigned status;
    const struct http1_field *fields; /* written in this order */
    size_t field_count;
    enum http1_framing framing;
    uint64_t body_len;
    bool is_old;            /* HTTP/1.0, as the request was */
    int64_t date_sec;       /* for the Date field: seconds since 1970 */
    const char *connection; /* "close", "keep-alive" or NULL */
};

/* Appends the head, with the blank line. Line breaks in fields are written as blanks, as Go does.
 */
void http1_response_head(struct buf *out, const struct http1_response *response);
/* The line before a chunk of `len` bytes (at least 1); "\r\n" follows the chunk. */
void http1_chunk_head(struct buf *out, size_t len);
#define HTTP1_LAST_CHUNK "0\r\n\r\n"
#define HTTP1_CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"

/* "Fri, 20 Nov 2026 11:32:00 GMT" and the final 0. */
#define HTTP1_DATE_TEXT 30
void http1_date(int64_t seconds, char out[HTTP1_DATE_TEXT]);

#endif
