/* llhttp cuts the bytes; this file gathers them, meets the limits and says no as Go does.
 *
 * A request's text (target, names, values) gathers in one buffer, its fields as offsets until the
 * head is whole. llhttp is paused when a message is complete, so that pipelined bytes stay outside.
 *
 * Known differences from Go, both answered with 400: methods that are in no RFC (Go routes them),
 * and fields that go on in the next line (RFC 9112 section 5.2 lets a server choose; Go joins the
 * lines, and what one program joins and another does not is a way to smuggle). */
#include "codec/http1.h"

#include "base/mem.h"

#include <llhttp.h>
#include <stdio.h>
#include <strings.h>

struct field_span {
    size_t name;
    size_t name_len;
    size_t value;
    size_t value_len;
};

struct http1 {
    llhttp_t llhttp;
    struct http1_limits limits;
    struct buf text;
    struct buf body;
    struct buf refusal;
    size_t target_len; /* at the start of text */
    struct field_span *spans;
    size_t span_count;
    size_t span_cap;
    struct http1_field *fields;
    size_t field_cap;
    struct http1_request request;
    uint64_t overhead; /* bytes taken that are not body */
    uint64_t dropped;  /* of the body: taken while it came */
    bool in_value;     /* the last span is in its value */
    bool is_crowded;   /* a field too many has begun */
    bool in_trailers;
    bool has_bytes;
    bool in_line;       /* the present line of the head has a byte */
    bool has_line;      /* so had one before it */
    bool was_blank;     /* the last byte of it */
    bool has_seen_head; /* by the search for what llhttp lets pass */
    bool has_head;
    bool is_complete;
    bool expects_continue;
    unsigned status; /* of the refusal, 0: none */
    const char *detail;
};

/* ---- refusals -------------------------------------------------------------------------- */

static int refuse(struct http1 *parser, unsigned status, const char *detail)
{
    if (parser->status == 0) {
        parser->status = status;
        parser->detail = detail;
    }
    return HPE_USER;
}

/* Go's net/http, conn.serve: the status line names the detail too. */
static void refusal_write(struct http1 *parser)
{
    const char *name = http1_status_text(parser->status);
    const char *colon = parser->detail == NULL ? "" : ": ";
    const char *detail = parser->detail == NULL ? "" : parser->detail;
    const char *headers =
        "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n";
    buf_reset(&parser->refusal);
    if (parser->status == 501) {
        buf_printf(&parser->refusal, "HTTP/1.1 501 %s%s%s", name, headers, detail);
        return;
    }
    if (parser->status == 417) {
        buf_printf(&parser->refusal,
                   "HTTP/1.1 417 %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", name);
        return;
    }
    buf_printf(&parser->refusal, "HTTP/1.1 %u %s%s%s%s%u %s%s%s", parser->status, name, colon,
               detail, headers, parser->status, name, colon, detail);
}

struct slice http1_refusal(const struct http1 *parser)
{
    return buf_slice(&parser->refusal);
}

/* ---- what llhttp finds ------------------------------------------------------------------- */

static struct http1 *owner_of(llhttp_t *llhttp)
{
    return CONTAINER_OF(llhttp, struct http1, llhttp);
}

static int on_url(llhttp_t *llhttp, const char *at, size_t len)
{
    struct http1 *parser = owner_of(llhttp);
    buf_append(&parser->text, at, len);
    parser->target_len = parser->text.len;
    return 0;
}

static int on_field(llhttp_t *llhttp, const char *at, size_t len)
{
    struct http1 *parser = owner_of(llhttp);
    if (parser->in_trailers) {
        return 0;
    }
    if (parser->span_count == 0 || parser->in_value) {
        if (parser->span_count == parser->limits.field_max) {
            parser->is_crowded = true;
            return 0;
        }
        if (parser->span_count == parser->span_cap) {
            parser->span_cap = parser->span_cap == 0 ? 16 : parser->span_cap * 2;
            parser->spans = mem_realloc(parser->spans, parser->span_cap * sizeof(*parser->spans));
        }
        parser->spans[parser->span_count++] = (struct field_span){.name = parser->text.len};
        parser->in_value = false;
    }
    buf_append(&parser->text, at, len);
    parser->spans[parser->span_count - 1].name_len += len;
    return 0;
}

/* One field too many is refused when its name is whole: llhttp may hold a name back until then, so
 * that in the middle of it the answer would depend on how the bytes are cut. */
static int on_field_complete(llhttp_t *llhttp)
{
    struct http1 *parser = owner_of(llhttp);
    return parser->is_crowded ? refuse(parser, 431, NULL) : 0;
}

static void value_begin(struct http1 *parser)
{
    if (!parser->in_value) {
        parser->in_value = true;
        parser->spans[parser->span_count - 1].value = parser->text.len;
    }
}

static int on_value(llhttp_t *llhttp, const char *at, size_t len)
{
    struct http1 *parser = owner_of(llhttp);
    if (parser->in_trailers) {
        return 0;
    }
    value_begin(parser);
    buf_append(&parser->text, at, len);
    parser->spans[parser->span_count - 1].value_len += len;
    return 0;
}

static int on_value_complete(llhttp_t *llhttp)
{
    struct http1 *parser = owner_of(llhttp);
    if (!parser->in_trailers) {
        value_begin(parser); /* an empty value has no span */
    }
    return 0;
}

static bool name_is(struct slice name, const char *text)
{
    return name.len == strlen(text) && strncasecmp((const char *)name.data, text, name.len) == 0;
}

static struct slice trim(struct slice value)
{
    while (value.len > 0 && (value.data[0] == ' ' || value.data[0] == '\t')) {
        value = slice_skip(value, 1);
    }
    while (value.len > 0 &&
           (value.data[value.len - 1] == ' ' || value.data[value.len - 1] == '\t')) {
        value.len--;
    }
    return value;
}

static void fields_build(struct http1 *parser)
{
    if (parser->field_cap < parser->span_count) {
        parser->field_cap = parser->span_cap;
        parser->fields = mem_realloc(parser->fields, parser->field_cap * sizeof(*parser->fields));
    }
    const uint8_t *text = parser->text.data;
    for (size_t i = 0; i < parser->span_count; i++) {
        const struct field_span *span = &parser->spans[i];
        parser->fields[i] = (struct http1_field){
            .name = slice_of(text + span->name, span->name_len),
            .value = trim(slice_of(text + span->value, span->value_len)),
        };
    }
}

/* RFC 9110 section 5.6.2. llhttp lets a blank before the colon pass, which others read as another
 * name: "Transfer-Encoding : chunked" must not get through. */
static bool name_is_token(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.data[i];
        bool is_alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!is_alnum && (c == 0 || strchr("!#$%&'*+-.^_`|~", c) == NULL)) {
            return false;
        }
    }
    return name.len > 0;
}

/* Go's valid host bytes, loosely: no blanks, no controls, nothing that ends a host. */
static bool host_is_valid(struct slice host)
{
    for (size_t i = 0; i < host.len; i++) {
        uint8_t c = host.data[i];
        if (c <= 0x20 || c >= 0x7f || c == '/' || c == '?' || c == '#' || c == '"' || c == '<' ||
            c == '>' || c == '\\' || c == '^' || c == '`' || c == '{' || c == '|' || c == '}') {
            return false;
        }
    }
    return true;
}

static int fields_check(struct http1 *parser)
{
    struct http1_request *request = &parser->request;
    size_t hosts = 0;
    for (size_t i = 0; i < parser->span_count; i++) {
        const struct http1_field *field = &parser->fields[i];
        if (!name_is_token(field->name)) {
            return refuse(parser, 400, "invalid header name");
        }
        if (name_is(field->name, "host")) {
            hosts++;
            request->host = field->value;
        } else if (name_is(field->name, "transfer-encoding")) {
            if (!name_is(field->value, "chunked")) {
                return refuse(parser, 501, "Unsupported transfer encoding");
            }
        } else if (name_is(field->name, "expect")) {
            if (!name_is(field->value, "100-continue")) {
                return refuse(parser, 417, NULL);
            }
            parser->expects_continue = request->minor > 0;
        }
    }
    if (hosts > 1) {
        return refuse(parser, 400, NULL);
    }
    if (hosts == 0 && request->minor > 0) {
        return refuse(parser, 400, "missing required Host header");
    }
    if (!host_is_valid(request->host)) {
        return refuse(parser, 400, "malformed Host header");
    }
    return 0;
}

static int on_headers_complete(llhttp_t *llhttp)
{
    struct http1 *parser = owner_of(llhttp);
    struct http1_request *request = &parser->request;
    parser->has_head = true;
    parser->in_trailers = true; /* fields from now on are trailers: dropped */
    fields_build(parser);
    if (llhttp->http_major != 1 || llhttp->method == HTTP_CONNECT) {
        return llhttp->http_major != 1 ? refuse(parser, 505, "unsupported protocol version")
                                       : refuse(parser, 400, NULL);
    }
    request->method = slice_str(llhttp_method_name((llhttp_method_t)llhttp->method));
    request->target = slice_of(parser->text.data, parser->target_len);
    request->fields = parser->fields;
    request->field_count = parser->span_count;
    request->minor = llhttp->http_minor;
    request->keep_alive = llhttp_should_keep_alive(llhttp) != 0;
    request->is_head = llhttp->method == HTTP_HEAD;
    int rv = fields_check(parser);
    if (rv != 0) {
        return rv;
    }
    if ((llhttp->flags & F_CONTENT_LENGTH) != 0 &&
        llhttp->content_length > parser->limits.body_max) {
        return refuse(parser, 413, NULL);
    }
    if ((llhttp->flags & F_CHUNKED) == 0 && llhttp->content_length == 0) {
        parser->expects_continue = false;
    }
    /* "Upgrade" is an offer that nobody here takes. */
    llhttp->upgrade = 0;
    return 0;
}

static int on_body(llhttp_t *llhttp, const char *at, size_t len)
{
    struct http1 *parser = owner_of(llhttp);
    if (len > parser->limits.body_max - parser->body.len) {
        return refuse(parser, 413, NULL);
    }
    buf_append(&parser->body, at, len);
    parser->expects_continue = false;
    return 0;
}

/* A size that the body cannot reach is refused before its bytes come. */
static int on_chunk_header(llhttp_t *llhttp)
{
    struct http1 *parser = owner_of(llhttp);
    return llhttp->content_length > parser->limits.body_max - parser->body.len
               ? refuse(parser, 413, NULL)
               : 0;
}

static int on_message_complete(llhttp_t *llhttp)
{
    struct http1 *parser = owner_of(llhttp);
    parser->is_complete = true;
    parser->request.body = buf_slice(&parser->body);
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_field_complete = on_field_complete,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_chunk_header = on_chunk_header,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- the parser -------------------------------------------------------------------------- */

/* Memory that a request may leave behind for the next one on its connection. */
#define KEEP_MAX 16384

static void buf_recycle(struct buf *buf)
{
    if (buf->cap > KEEP_MAX) {
        buf_fini(buf);
    }
    buf_reset(buf);
}

void http1_next(struct http1 *parser)
{
    ASSERT(parser->status == 0);
    llhttp_init(&parser->llhttp, HTTP_REQUEST, &settings);
    buf_recycle(&parser->text);
    buf_recycle(&parser->body);
    parser->target_len = 0;
    parser->span_count = 0;
    parser->request = (struct http1_request){0};
    parser->overhead = 0;
    parser->dropped = 0;
    parser->in_value = false;
    parser->is_crowded = false;
    parser->in_trailers = false;
    parser->has_bytes = false;
    parser->in_line = false;
    parser->has_line = false;
    parser->was_blank = false;
    parser->has_seen_head = false;
    parser->has_head = false;
    parser->is_complete = false;
    parser->expects_continue = false;
}

struct http1 *http1_new(const struct http1_limits *limits)
{
    struct http1 *parser = NEW(struct http1);
    parser->limits = *limits;
    http1_next(parser);
    return parser;
}

void http1_free(struct http1 **parser_ptr)
{
    struct http1 *parser = *parser_ptr;
    if (parser == NULL) {
        return;
    }
    buf_fini(&parser->text);
    buf_fini(&parser->body);
    buf_fini(&parser->refusal);
    mem_free(parser->spans);
    mem_free(parser->fields);
    mem_free(parser);
    *parser_ptr = NULL;
}

/* Turns what llhttp says into a refusal, unless a callback refused with its own reason. */
static void refuse_errno(struct http1 *parser, llhttp_errno_t error)
{
    if (error == HPE_INVALID_VERSION) {
        refuse(parser, 505, "unsupported protocol version");
    } else {
        refuse(parser, 400, NULL);
    }
}

/* Empty lines before a request line are allowed (RFC 9112 section 2.2), but count. */
static bool is_over(const struct http1 *parser)
{
    uint64_t max = parser->limits.head_max;
    /* A chunk of one byte costs five around it; a sane client sends far larger ones. */
    max += (parser->dropped + parser->body.len) * 16;
    return parser->overhead > max;
}

/* A line of the head that begins with a blank, which llhttp joins with the one above; and two
 * blanks together in the request line. */
static bool is_lenient(const struct http1 *parser, uint8_t c)
{
    bool is_fold = parser->has_line && !parser->in_line && (c == ' ' || c == '\t');
    return is_fold || (!parser->has_line && parser->was_blank && c == ' ');
}

/* How many bytes of `in` come before what llhttp would let pass and we do not. */
static size_t lenient_find(struct http1 *parser, struct slice in)
{
    for (size_t at = 0; at < in.len && !parser->has_seen_head; at++) {
        uint8_t c = in.data[at];
        if (c == '\n') {
            parser->has_seen_head = parser->has_line && !parser->in_line;
            parser->has_line = parser->has_line || parser->in_line;
            parser->in_line = false;
        } else if (c != '\r') {
            if (is_lenient(parser, c)) {
                return at;
            }
            parser->in_line = true;
        }
        parser->was_blank = c == ' ';
    }
    return in.len;
}

FALLIBLE http1_feed(struct http1 *parser, struct slice *in)
{
    ASSERT(!parser->is_complete);
    if (parser->status != 0) {
        return ERR_INVALID;
    }
    if (in->len == 0) {
        return ERR_AGAIN;
    }
    parser->has_bytes = true;
    const char *start = (const char *)in->data;
    size_t body_before = parser->body.len;
    size_t len = lenient_find(parser, *in);
    bool is_cut = len < in->len;
    llhttp_errno_t error = llhttp_execute(&parser->llhttp, start, len);
    size_t taken = len;
    if (error != HPE_OK) {
        const char *at = llhttp_get_error_pos(&parser->llhttp);
        taken = at == NULL ? len : (size_t)(at - start);
        ASSERT(taken <= len);
    }
    parser->overhead += taken - (parser->body.len - body_before);
    *in = slice_skip(*in, taken);
    if (error != HPE_OK && error != HPE_PAUSED) {
        refuse_errno(parser, error);
    } else if (is_cut && !parser->is_complete) {
        refuse(parser, 400, NULL);
    } else if (is_over(parser)) {
        refuse(parser, 431, NULL);
    }
    if (parser->status != 0) {
        refusal_write(parser);
        return ERR_INVALID;
    }
    return parser->is_complete ? ERR_OK : ERR_AGAIN;
}

const struct http1_request *http1_request(const struct http1 *parser)
{
    ASSERT(parser->has_head);
    return &parser->request;
}

struct slice http1_body(const struct http1 *parser)
{
    return buf_slice(&parser->body);
}

void http1_body_drop(struct http1 *parser)
{
    parser->dropped += parser->body.len;
    buf_recycle(&parser->body);
    parser->request.body = SLICE_EMPTY;
}

bool http1_wants_continue(struct http1 *parser)
{
    bool wants = parser->has_head && !parser->is_complete && parser->expects_continue;
    if (wants) {
        parser->expects_continue = false;
    }
    return wants;
}

bool http1_is_idle(const struct http1 *parser)
{
    return !parser->has_bytes;
}

bool http1_has_head(const struct http1 *parser)
{
    return parser->has_head;
}

/* ---- responses --------------------------------------------------------------------------- */

const char *http1_status_text(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } texts[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Request Entity Too Large"},
        {414, "Request URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Requested Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Entity"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (texts[i].status == status) {
            return texts[i].text;
        }
    }
    return "";
}

/* The civil date of a day number (days since 1970-01-01), by 400-year eras beginning in March. */
static void civil(int64_t days, int64_t *year, unsigned *month, unsigned *day)
{
    int64_t shifted = days + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t of_era = shifted - era * 146097;
    int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t march = (5 * of_year + 2) / 153;
    *day = (unsigned)(of_year - (153 * march + 2) / 5 + 1);
    *month = (unsigned)(march < 10 ? march + 3 : march - 9);
    *year = year_of_era + era * 400 + (*month <= 2);
}

void http1_date(int64_t seconds, char out[HTTP1_DATE_TEXT])
{
    static const char days[] = "ThuFriSatSunMonTueWed";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t day_number = seconds / 86400 - (seconds % 86400 < 0);
    unsigned of_day = (unsigned)(seconds - day_number * 86400);
    int64_t year;
    unsigned month;
    unsigned day;
    civil(day_number, &year, &month, &day);
    unsigned weekday = (unsigned)(((day_number % 7) + 7) % 7);
    snprintf(out, HTTP1_DATE_TEXT, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", days + 3 * weekday,
             day % 100, months + 3 * (month - 1), (unsigned)year % 10000, of_day / 3600 % 24,
             of_day / 60 % 60, of_day % 60);
}

static void append_clean(struct buf *out, struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.data[i];
        buf_append_byte(out, c == '\r' || c == '\n' || c == 0 ? ' ' : c);
    }
}

void http1_response_head(struct buf *out, const struct http1_response *response)
{
    const char *text = http1_status_text(response->status);
    unsigned minor = response->is_old ? 0 : 1;
    char date[HTTP1_DATE_TEXT];
    http1_date(response->date_sec, date);
    if (text[0] == 0) {
        buf_printf(out, "HTTP/1.%u %03u status code %u\r\n", minor, response->status,
                   response->status);
    } else {
        buf_printf(out, "HTTP/1.%u %03u %s\r\n", minor, response->status, text);
    }
    for (size_t i = 0; i < response->field_count; i++) {
        append_clean(out, response->fields[i].name);
        buf_append_str(out, ": ");
        append_clean(out, response->fields[i].value);
        buf_append_str(out, "\r\n");
    }
    buf_printf(out, "Date: %s\r\n", date);
    if (response->framing == HTTP1_LENGTH) {
        buf_printf(out, "Content-Length: %llu\r\n", (unsigned long long)response->body_len);
    }
    if (response->connection != NULL) {
        buf_printf(out, "Connection: %s\r\n", response->connection);
    }
    if (response->framing == HTTP1_CHUNKED) {
        buf_append_str(out, "Transfer-Encoding: chunked\r\n");
    }
    buf_append_str(out, "\r\n");
}

void http1_chunk_head(struct buf *out, size_t len)
{
    ASSERT(len > 0);
    buf_printf(out, "%zx\r\n", len);
}
