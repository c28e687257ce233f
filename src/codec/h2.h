/* HTTP/2 sessions over nghttp2: bytes in, events out; commands in, bytes out. The door to nghttp2.
 *
 * Both roles. It knows headers, data, flow control and floods; it knows no gRPC, socket or clock
 * (the time is an argument). Bodies are pulled when the peer's window is open, and move to the
 * output by reference.
 *
 * Events come from inside h2_recv() and h2_send(); commands may be given from inside them, but
 * h2_recv(), h2_send() and h2_free() may not.
 *
 * Ownership: a stream is the owner's `void *`, from open() or h2_request() until closed(), which
 * comes exactly once for each, unless h2_free() comes first: it calls nothing.
 * Threads: one at a time.
 * Failure: what a peer does wrong is answered by nghttp2 or by the budgets here with RST_STREAM or
 * GOAWAY; when the session is over h2_recv() says ERR_CLOSED and h2_is_done() is true. */
#ifndef CODEC_H2_H
#define CODEC_H2_H

#include "base/slab.h"
#include "codec/outq.h"

/* RFC 9113 section 7. */
enum h2_code {
    H2_NO_ERROR = 0x0,
    H2_PROTOCOL_ERROR = 0x1,
    H2_INTERNAL_ERROR = 0x2,
    H2_FLOW_CONTROL_ERROR = 0x3,
    H2_STREAM_CLOSED = 0x5,
    H2_FRAME_SIZE_ERROR = 0x6,
    H2_REFUSED_STREAM = 0x7,
    H2_CANCEL = 0x8,
    H2_ENHANCE_YOUR_CALM = 0xb,
};

#define H2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define H2_PREFACE_LEN 24

struct h2;

struct h2_field {
    struct slice name;
    struct slice value;
    bool is_static; /* both live for ever: not copied */
};

enum h2_pull {
    H2_PULL_MORE,     /* these bytes, and ask again */
    H2_PULL_WAIT,     /* nothing now: h2_resume() when there is */
    H2_PULL_END,      /* these bytes are the last, END_STREAM with them */
    H2_PULL_TRAILERS, /* these bytes are the last; h2_trailers() was called from inside pull() */
    H2_PULL_USUAL,    /* these bytes are the last, the usual trailers follow (h2_options.usual) */
    H2_PULL_FAIL,     /* reset the stream with INTERNAL_ERROR */
};

struct h2_handler {
    /* Server: the peer opens a stream. NULL refuses it (REFUSED_STREAM). */
    void *(*open)(void *ctx, int32_t id);
    /* One field of a header block; borrowed until it returns. */
    void (*field)(void *stream, struct slice name, struct slice value);
    /* The block is whole. A client sees status 1xx blocks too. */
    void (*headers)(void *stream, bool is_trailers);
    /* True: done with the bytes, the window opens again. False: kept; h2_consume() later. */
    bool (*data)(void *stream, struct slice bytes);
    /* END_STREAM: the peer sends no more on this stream. */
    void (*end)(void *stream);
    /* The stream is gone: H2_NO_ERROR after an orderly end. No command for it any more. */
    void (*closed)(void *stream, uint32_t code);
    /* How many bytes, at most `max`, may be taken for the next DATA frame, and what follows. */
    enum h2_pull (*pull)(void *stream, size_t max, size_t *len_out);
    /* Appends exactly the `len` bytes that pull() promised, maybe some time ago: a body must not
     * shrink before closed(). */
    void (*write)(void *stream, struct outq *out, size_t len);
    /* A PING arrived (is_ack: the answer to h2_ping()). May be NULL. */
    void (*ping)(void *ctx, bool is_ack);
    /* Client: the server will accept no stream over last_id. May be NULL. */
    void (*goaway)(void *ctx, int32_t last_id, uint32_t code, struct slice debug);
    /* Server, all three or none. keep(): after headers() of a stream; what its header block came
     * to, for when the same block comes again; NULL: nothing to be kept. open_known(): open() and
     * all field() in one, of such a block; headers() follows. drop(): it will not be asked for
     * again. */
    void *(*keep)(void *stream);
    void *(*open_known)(void *ctx, int32_t id, void *kept);
    void (*drop)(void *kept);
};

/* How most answers of a server begin and end: cheaper than others. All fields are static. */
struct h2_usual_fields {
    const struct h2_field *head;
    size_t head_count; /* at most 8, names and values shorter than 127 bytes */
    const struct h2_field *trailers;
    size_t trailers_count;
};

struct h2_options {
    bool is_client;
    uint32_t streams_max;       /* 2^32-1: not announced */
    uint32_t stream_window;     /* bytes the peer may send ahead on one stream */
    uint32_t connection_window; /* on all together; at least 65535 */
    uint32_t header_bytes_max;  /* names, values and 32 a field (RFC 9113 section 6.5.2) */
    uint32_t header_count_max;
    /* Where sessions and streams live, shared by all sessions of an owner; outlives them. NULL: the
     * heap. A request costs nghttp2 eight allocations. */
    struct slab_pool *memory;
    struct h2_usual_fields usual; /* server; empty: no h2_respond_usual(), no H2_PULL_USUAL */
};

/* Budgets against floods: tokens refill evenly; without one left the session ends with
 * GOAWAY(ENHANCE_YOUR_CALM). Resets count whoever sent them (CVE-2023-44487, CVE-2025-8671);
 * control frames are empty DATA and all others but HEADERS and CONTINUATION, unknown types too. A
 * WINDOW_UPDATE costs only when there were more of them than the DATA frames sent explain. */
#define H2_RESETS_BURST 2000
#define H2_RESETS_PER_SEC 200
#define H2_CONTROL_BURST 4000
#define H2_CONTROL_PER_SEC 1000

struct h2 *h2_new(const struct h2_options *options, const struct h2_handler *handler, void *ctx);
void h2_free(struct h2 **h2);

/* Takes all of `in`. ERR_CLOSED: the session is over; send what h2_send() gives, then close. */
FALLIBLE h2_recv(struct h2 *h2, struct slice in, uint64_t now_ns);
/* Appends output until there is no more or `out` holds `limit` bytes. True when it stopped because
 * of the limit. */
bool h2_send(struct h2 *h2, struct outq *out, size_t limit);
/* Nothing more will be read or written. */
bool h2_is_done(const struct h2 *h2);
/* A header block has begun and not ended, or a client's preface has: the peer owes the rest. */
bool h2_is_owed(const struct h2 *h2);

/* Server: answers. With has_body the stream is pulled; without, this ends it. */
void h2_respond(struct h2 *h2, int32_t id, const struct h2_field *fields, size_t count,
                bool has_body);
/* The same with the usual fields and a body. */
void h2_respond_usual(struct h2 *h2, int32_t id);
/* Client: opens a stream; the body is pulled when has_body. 0: no more ids on this connection. */
int32_t h2_request(struct h2 *h2, const struct h2_field *fields, size_t count, bool has_body,
                   void *stream);
void h2_trailers(struct h2 *h2, int32_t id, const struct h2_field *fields, size_t count);
void h2_resume(struct h2 *h2, int32_t id); /* pull() may have something again */
void h2_reset(struct h2 *h2, int32_t id, enum h2_code code);
void h2_consume(struct h2 *h2, int32_t id, size_t len); /* bytes that data() kept */
/* Lower goes first (RFC 9218): 0 to 7, 3 is the default. */
void h2_urgency(struct h2 *h2, int32_t id, uint32_t urgency);
void h2_ping(struct h2 *h2);
/* GOAWAY with the largest id: the peer should open no more streams. */
void h2_shutdown_notice(struct h2 *h2);
/* GOAWAY with the last stream seen: streams in progress go on. */
void h2_shutdown(struct h2 *h2);
/* GOAWAY and the end. */
void h2_terminate(struct h2 *h2, enum h2_code code, const char *debug);

#endif
