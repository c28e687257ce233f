/* What happens besides the load: compactions during it, a look at the store's hash behind it. */
#include "ctl/bench_priv.h"

#include "base/gotext.h"
#include "codec/pb.h"
#include "ctl/print_priv.h"
#include "rpc.pb-c.h"

/* ---- compaction ----------------------------------------------------------------------------- */

static void complain(struct bench *bench, const char *what, const char *error)
{
    bench__fail(bench, "%s: %s", what, error);
}

static void compacted(void *ctx, const char *error, struct slice reply)
{
    UNUSED(reply);
    if (error[0] != 0) {
        complain(ctx, "compaction", error);
    }
}

/* A linearizable read tells the revision; any key will do. */
static void revision_read(void *ctx, const char *error, struct slice reply)
{
    struct bench *bench = ctx;
    if (error[0] != 0) {
        complain(bench, "compaction", error);
        return;
    }
    struct arena arena;
    arena_init(&arena);
    struct errbuf why = {{0}};
    Etcdserverpb__RangeResponse *answer = NULL;
    enum err err = pb_decode_limits(&arena, &etcdserverpb__range_response__descriptor, reply,
                                    PB_LIMITS_NONE, &answer, &why);
    if (err != ERR_OK || answer->header == NULL) {
        complain(bench, "compaction", "the server's answer makes no sense");
    } else if (answer->header->revision > bench->compact_delta) {
        Etcdserverpb__CompactionRequest *request =
            pb_new(&arena, &etcdserverpb__compaction_request__descriptor);
        request->revision = answer->header->revision - bench->compact_delta;
        bench_load_call_start(bench->load, "/etcdserverpb.KV/Compact",
                              pb_encode_arena(request, &arena), compacted, bench);
    }
    arena_fini(&arena);
}

void bench__compact(void *ctx)
{
    struct bench *bench = ctx;
    struct arena arena;
    arena_init(&arena);
    Etcdserverpb__RangeRequest *request = pb_new(&arena, &etcdserverpb__range_request__descriptor);
    request->key = pb_binary(SLICE("foo"));
    bench_load_call_start(bench->load, "/etcdserverpb.KV/Range", pb_encode_arena(request, &arena),
                          revision_read, bench);
    arena_fini(&arena);
}

/* ---- the hash ---------------------------------------------------------------------------------
 */

/* An empty request, and its decoded answer in the arena. */
static FALLIBLE ask(struct bench *bench, const char *path, const ProtobufCMessageDescriptor *type,
                    void *out, struct errbuf *why)
{
    struct buf reply = {0};
    enum err err = bench_load_call(bench->load, path, SLICE_EMPTY, &reply, why);
    if (err == ERR_OK) {
        struct slice kept = slice_of(arena_dup(&bench->arena, reply.data, reply.len), reply.len);
        err = pb_decode_limits(&bench->arena, type, kept, PB_LIMITS_NONE, out, why);
    }
    buf_fini(&reply);
    return err;
}

int bench__hashkv(struct bench *bench, const char *endpoint)
{
    struct errbuf why = {{0}};
    Etcdserverpb__HashKVResponse *hash = NULL;
    Etcdserverpb__StatusResponse *status = NULL;
    mono_ns start = env_now_mono(bench->env);
    if (ask(bench, "/etcdserverpb.Maintenance/HashKV", &etcdserverpb__hash_kvresponse__descriptor,
            &hash, &why) != ERR_OK) {
        return bench__fail(bench, "Failed to get the hashkv of endpoint %s (%s)", endpoint,
                           why.text);
    }
    if (ask(bench, "/etcdserverpb.Maintenance/Status", &etcdserverpb__status_response__descriptor,
            &status, &why) != ERR_OK) {
        return bench__fail(bench, "Failed to get the status of endpoint %s (%s)", endpoint,
                           why.text);
    }
    struct buf text = {0};
    buf_printf(&text, "HashKV Summary:\n\tHashKV: %u\n\tEndpoint: %s\n", hash->hash, endpoint);
    buf_append_str(&text, "\tTime taken to get hashkv: ");
    go_format_duration((int64_t)(env_now_mono(bench->env) - start), &text);
    buf_append_str(&text, "\n\tDB size: ");
    print__humanize((uint64_t)status->dbsize, &text);
    buf_append_byte(&text, '\n');
    bench__print(bench, CTL_STDOUT, buf_slice(&text));
    buf_fini(&text);
    return COMMAND_EXIT_OK;
}
