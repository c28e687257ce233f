#include "codec/gzip.h"

#include "base/mem.h"

#include <zlib.h>

#define STEP 65536

/* The system's format codes: window bits, and 16 for "gzip header and trailer". */
#define GZIP_BITS (15 + 16)

static voidpf z_alloc(voidpf ctx, uInt count, uInt size)
{
    UNUSED(ctx);
    return mem_array(count, size);
}
static void z_free(voidpf ctx, voidpf ptr)
{
    UNUSED(ctx);
    mem_free(ptr);
}

static const Bytef *z_input(struct slice in)
{
    static const Bytef empty;
    return in.data == NULL ? &empty : in.data;
}

/* Inflates one member; *in gets what is behind it. */
static FALLIBLE member_decode(z_stream *z, struct slice *in, size_t limit, struct buf *out)
{
    size_t start = out->len;
    union {
        const Bytef *in;
        Bytef *out;
    } next = {z_input(*in)};
    z->next_in = next.out;
    z->avail_in = (uInt)in->len;
    for (;;) {
        size_t room = limit - (out->len - start);
        size_t step = room < STEP ? room : STEP;
        /* One byte more than allowed shows that there is more. */
        uint8_t extra;
        bool is_last = step == 0;
        z->next_out = is_last ? &extra : buf_reserve(out, step);
        z->avail_out = is_last ? 1 : (uInt)step;
        int rv = inflate(z, Z_NO_FLUSH);
        size_t got = (is_last ? 1 : step) - z->avail_out;
        if (is_last && got > 0) {
            return ERR_TOO_LARGE;
        }
        out->len += got;
        if (rv == Z_STREAM_END) {
            *in = slice_of(in->data + (in->len - z->avail_in), z->avail_in);
            return ERR_OK;
        }
        if (rv == Z_BUF_ERROR || (rv == Z_OK && z->avail_in == 0 && z->avail_out > 0)) {
            return ERR_EOF;
        }
        if (rv != Z_OK) {
            return ERR_CORRUPT;
        }
    }
}

FALLIBLE gzip_decode(struct slice in, size_t limit, struct buf *out)
{
    if (in.len > UINT32_MAX) {
        return ERR_TOO_LARGE;
    }
    size_t start = out->len;
    enum err err;
    do {
        z_stream z = {.zalloc = z_alloc, .zfree = z_free};
        int rv = inflateInit2(&z, GZIP_BITS);
        ASSERT(rv == Z_OK);
        err = member_decode(&z, &in, limit - (out->len - start), out);
        inflateEnd(&z);
    } while (err == ERR_OK && in.len > 0);
    return err;
}

void gzip_encode(struct slice in, struct buf *out)
{
    ASSERT(in.len <= UINT32_MAX);
    z_stream z = {.zalloc = z_alloc, .zfree = z_free};
    int rv = deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_BITS, 8, Z_DEFAULT_STRATEGY);
    ASSERT(rv == Z_OK);
    union {
        const Bytef *in;
        Bytef *out;
    } next = {z_input(in)};
    size_t bound = deflateBound(&z, in.len);
    ASSERT(bound <= UINT32_MAX);
    z.next_in = next.out;
    z.avail_in = (uInt)in.len;
    z.next_out = buf_reserve(out, bound);
    z.avail_out = (uInt)bound;
    rv = deflate(&z, Z_FINISH);
    ASSERT(rv == Z_STREAM_END);
    out->len += bound - z.avail_out;
    deflateEnd(&z);
}

struct gzip_writer {
    z_stream z;
};

struct gzip_writer *gzip_writer_new(void)
{
    struct gzip_writer *writer = NEW(struct gzip_writer);
    writer->z = (z_stream){.zalloc = z_alloc, .zfree = z_free};
    int rv = deflateInit2(&writer->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_BITS, 8,
                          Z_DEFAULT_STRATEGY);
    ASSERT(rv == Z_OK);
    return writer;
}

/* Runs until everything given is taken and nothing more comes out. */
static void writer_run(struct gzip_writer *writer, int flush, struct buf *out)
{
    z_stream *z = &writer->z;
    int rv;
    do {
        z->next_out = buf_reserve(out, STEP);
        z->avail_out = STEP;
        rv = deflate(z, flush);
        ASSERT(rv == Z_OK || rv == Z_STREAM_END || rv == Z_BUF_ERROR);
        out->len += STEP - z->avail_out;
    } while (z->avail_out == 0 || (flush == Z_FINISH && rv != Z_STREAM_END));
    ASSERT(z->avail_in == 0);
}

void gzip_writer_add(struct gzip_writer *writer, struct slice piece, struct buf *out)
{
    ASSERT(piece.len <= UINT32_MAX);
    union {
        const Bytef *in;
        Bytef *out;
    } next = {z_input(piece)};
    writer->z.next_in = next.out;
    writer->z.avail_in = (uInt)piece.len;
    if (piece.len > 0) {
        writer_run(writer, Z_NO_FLUSH, out);
    }
}

void gzip_writer_finish(struct gzip_writer *writer, struct buf *out)
{
    writer_run(writer, Z_FINISH, out);
}

void gzip_writer_free(struct gzip_writer **writer)
{
    if (*writer != NULL) {
        deflateEnd(&(*writer)->z);
        mem_free(*writer);
        *writer = NULL;
    }
}
