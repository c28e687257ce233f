/* A call's inside, shared by grpc_call.c (life, answers) and grpc_recv.c (headers, messages).
 *
 * References: the handler holds one from its first event to grpc_call_finish(), the stream one
 * while it exists, and each message on its way out one. The call is recycled when all are gone.
 *
 * Stages:
 *
 *   HEADERS -> OPEN -> CLOSED        the ordinary way; OPEN: the method is known
 *           \-> REFUSED -> CLOSED    answered here, no handler ever hears of it
 *
 * CLOSED means that nothing can be sent any more: stream gone or connection gone (id is 0).
 *
 * A local call (grpc_local.h) has a sink in place of a connection and a stream; the sink is its
 * stream's reference, and NULL once it has been told the end. */
#ifndef NET_GRPC_CALL_PRIV_H
#define NET_GRPC_CALL_PRIV_H

#include "net/grpc_local.h"
#include "net/http_priv.h"

enum call_stage {
    CALL_HEADERS,
    CALL_OPEN,
    CALL_REFUSED,
    CALL_CLOSED,
};

struct call_field {
    struct slice name;
    struct slice value;
};

#define CALL_FIELDS_INLINE 8

/* What a request's header block came to, for the requests of its connection with the same block
 * (codec/h2.h, keep()). Never changes; counted. */
struct grpc_head {
    size_t refs;
    const struct grpc_method *method;
    struct slice path; /* as all texts, behind the fields */
    struct slice subtype;
    struct slice encoding;
    uint64_t timeout_ns; /* UINT64_MAX: none */
    size_t field_count;
    struct call_field fields[];
};

struct grpc_call {
    struct outq_owner owner;
    struct http_server *server;
    struct http_conn *conn;             /* NULL once the stream is gone, and for a local call */
    const struct grpc_local_sink *sink; /* a local call's, until its end */
    void *sink_ctx;
    struct buf gathered;     /* of its source, until that is whole */
    struct list link;        /* conn->calls; server->spare_calls */
    struct list notify_link; /* conn->notify */
    struct list wait_link;   /* conn->waiting */
    struct list run_link;    /* conn->running */
    mono_ns ran_at;          /* when its handler began */
    struct list again_link;  /* server->again_hungry or again_served */
    int32_t id;              /* 0: gone */
    enum call_stage stage;
    struct arena arena;
    const char *peer; /* in the arena, when handler or source outlive the connection */

    /* The request. */
    const struct grpc_method *method;
    struct slice path;
    struct slice subtype;    /* of the content-type */
    struct slice encoding;   /* grpc-encoding */
    struct slice bad_type;   /* a content-type that is not gRPC's */
    struct slice bad_method; /* anything but POST */
    struct grpc_head *head;  /* it came before: where path, encoding and fields lie; or NULL */
    struct call_field *fields;
    size_t field_count;
    size_t field_cap; /* 0: of the head, or none */
    bool is_grpc;
    const char *head_error; /* a bad timeout or metadata, or NULL */
    mono_ns deadline;
    mono_ns started;
    struct timer timer;
    struct grpc_deframer deframer;
    struct buf inflated;
    struct buf paused; /* input that came while paused */
    size_t unconsumed; /* bytes of it for which the client's window is still shut */
    uint64_t held;     /* bytes of ours in conn->held: incomplete or paused input */
    bool is_gzip;
    bool is_paused;
    bool has_message;          /* unary: delivered, or waiting */
    struct slice wait_message; /* while in conn->waiting */
    bool is_half_closed;
    bool half_close_told;

    /* The handler. */
    bool has_handler; /* it owns the call: started and not finished */
    bool is_canceled;
    void *data;

    /* The answer. */
    struct outq body;
    uint64_t queued; /* bytes of it in conn->queued */
    struct grpc_source source;
    uint64_t source_left;
    bool has_source;
    struct gzip_writer *packer; /* of a source that is sent compressed */
    struct buf packed;
    bool headers_sent;
    bool is_finished;
    bool is_asleep; /* the session has been told that there is nothing to send */
    bool wants_writable;
    bool is_fair; /* the session knows our urgency, and shares */
    uint8_t urgency;
    enum grpc_status status;
    struct slice message; /* encoded */

    struct call_field fields_inline[CALL_FIELDS_INLINE]; /* last: not cleared for reuse */
};

/* grpc_call.c */
struct grpc_call *grpc_call__new(struct http_server *server);
struct grpc_call *grpc_call__open(struct http_conn *conn, int32_t id);
/* Answers without a handler: trailers only, or behind what was sent. */
void grpc_call__refuse(struct grpc_call *call, unsigned http_status, enum grpc_status status,
                       const char *message);
/* The stream ends with `status` though its handler has not finished: it gets cancel(). */
void grpc_call__abort(struct grpc_call *call, enum grpc_status status, const char *message);
void grpc_call__gone(struct grpc_call *call, enum grpc_status why);
/* Tells the handler, if there is one that has not been told. */
void grpc_call__cancel(struct grpc_call *call, enum grpc_status why);
void grpc_call__reset(struct grpc_call *call, enum h2_code code, enum grpc_status why);
/* In and out of conn->running; ending it again does nothing. */
void grpc_call__run_begin(struct grpc_call *call);
void grpc_call__run_end(struct grpc_call *call);
void grpc_call__hold(struct grpc_call *call, uint64_t held); /* sets call->held */
enum h2_pull grpc_call__pull(void *stream, size_t max, size_t *len_out);
void grpc_call__write(void *stream, struct outq *out, size_t len);
void grpc_call__send_headers(struct grpc_call *call);  /* of the response, once */
void grpc_call__queued_update(struct grpc_call *call); /* call->body has changed */
void grpc_call__source_close(struct grpc_call *call);  /* if there is one */

/* grpc_send.c */
void grpc_call__chunks_release(const struct grpc_chunk *chunks, size_t count);
/* A piece of the source under way, at most `want` bytes; errors as of its next(). */
FALLIBLE grpc_call__source_next(struct grpc_call *call, size_t want, struct grpc_chunk *out);
/* ERR_AGAIN came: it is asked again in the next turn. */
void grpc_call__source_wait(struct grpc_call *call, bool got_some);
/* Asks the source until `want` bytes are queued, or it has had enough. False: it failed. */
bool grpc_call__source_fill(struct grpc_call *call, size_t want);

/* grpc_recv.c */
void grpc_call__head_unref(struct grpc_head *head); /* safe on NULL */
void grpc_call__resume_input(struct grpc_call *call);
/* The method is known: the call is open, and a streaming handler hears of it. */
void grpc_call__begin(struct grpc_call *call);
/* Framed messages; the end of them. */
void grpc_call__input(struct grpc_call *call, struct slice bytes);
void grpc_call__input_end(struct grpc_call *call);

/* grpc_local.c */
static inline bool grpc_call__is_local(const struct grpc_call *call)
{
    return call->sink != NULL;
}
void grpc_call__local_chunks(struct grpc_call *call, const struct grpc_chunk *chunks, size_t count);
void grpc_call__local_source(struct grpc_call *call, const struct grpc_source *source);
/* Goes on with the source; in pieces, up to *budget bytes. */
void grpc_call__local_fill(struct grpc_call *call, uint64_t *budget);
/* The handler has finished it: the end comes behind what is still under way. */
void grpc_call__local_finish(struct grpc_call *call, enum grpc_status status, const char *message);
void grpc_call__local_end(struct grpc_call *call, enum grpc_status status, const char *message);

#endif
