/* What a log costs: a lone writer, writers that gather, and reading it all back at start.
 *
 *   wal_bench [DIR [LONE [GROUP [READ]]]]
 *
 * DIR is on the disk to measure; a new directory is made in it (default /var/tmp) and removed. LONE
 * appends one after the other, GROUP gathering, then so many more that READ can be read back. */
#include "storage/wal.h"

#include "base/mem.h"
#include "env/loop.h"
#include "env/posix.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define GROUP_WIDTH 1000
#define ENTRY_BYTES 300

struct bench {
    struct env *env;
    struct loop *loop;
    struct wal *wal;
    char *dir;
    raft_index next;
    size_t in_flight;
    uint64_t sync_ns;
};

struct save {
    struct wal_write write;
    struct raft_entry entry;
    struct bench *bench;
};

static void on_done(struct wal_write *write)
{
    CONTAINER_OF(write, struct save, write)->bench->in_flight--;
}

static void on_sync(uint64_t sync_ns, uint64_t bytes, void *ctx)
{
    ((struct bench *)ctx)->sync_ns += sync_ns;
}

static void submit(struct bench *b, struct save *save, struct raft_payload *payload)
{
    *save = (struct save){.bench = b};
    save->entry = (struct raft_entry){.index = b->next++, .term = 1, .payload = payload};
    save->write.entries = &save->entry;
    save->write.entry_count = 1;
    save->write.must_sync = true;
    save->write.done = on_done;
    b->in_flight++;
    wal_append(b->wal, &save->write);
}

static double seconds_since(struct bench *b, mono_ns begun)
{
    return (double)(env_now_mono(b->env) - begun) / 1e9;
}

static void must(enum err err, const struct errbuf *why)
{
    if (err != ERR_OK) {
        fatal("%s", why->text);
    }
}

static void open_log(struct bench *b, bool unsafe_no_fsync)
{
    struct wal_config config = {.env = b->env,
                                .dir = b->dir,
                                .unsafe_no_fsync = unsafe_no_fsync,
                                .synced = on_sync,
                                .ctx = b};
    struct wal_contents contents;
    struct errbuf why;
    mono_ns begun = env_now_mono(b->env);
    must(wal_open(&config, (struct wal_position){0}, &b->wal, &contents, &why), &why);
    if (contents.entry_count > 0) {
        double took = seconds_since(b, begun);
        printf("open       %8zu entries   %7.1f ms  %6.0f ns/entry\n", contents.entry_count,
               took * 1e3, took * 1e9 / (double)contents.entry_count);
    }
    b->next = contents.entry_count + 1;
    wal_contents_fini(&contents);
}

static void lone(struct bench *b, struct raft_payload *payload, size_t count)
{
    struct save save;
    b->sync_ns = 0;
    mono_ns begun = env_now_mono(b->env);
    for (size_t i = 0; i < count; i++) {
        submit(b, &save, payload);
        while (b->in_flight > 0) {
            loop_turn(b->loop, true);
        }
    }
    double took = seconds_since(b, begun);
    printf("lone       %8zu appends   %7.1f us each, of which sync %.1f us\n", count,
           took * 1e6 / (double)count, (double)b->sync_ns / 1e3 / (double)count);
}

static void group(struct bench *b, struct raft_payload *payload, size_t count)
{
    struct save *saves = mem_array(GROUP_WIDTH, sizeof(*saves));
    struct wal_stats before;
    struct wal_stats after;
    wal_stats(b->wal, &before);
    mono_ns begun = env_now_mono(b->env);
    for (size_t sent = 0; sent < count; sent += GROUP_WIDTH) {
        for (size_t i = 0; i < GROUP_WIDTH; i++) {
            submit(b, &saves[i], payload);
        }
        while (b->in_flight > 0) {
            loop_turn(b->loop, true);
        }
    }
    double took = seconds_since(b, begun);
    wal_stats(b->wal, &after);
    printf(
        "gathering  %8zu appends   %7.2f us each, %.0f MB/s, %llu syncs, %llu cuts (%llu cold)\n",
        count, took * 1e6 / (double)count, (double)(after.bytes - before.bytes) / 1e6 / took,
        (unsigned long long)(after.syncs - before.syncs),
        (unsigned long long)(after.cuts - before.cuts),
        (unsigned long long)(after.cuts_unprepared - before.cuts_unprepared));
    mem_free(saves);
}

static void remove_one(const char *name, void *ctx)
{
    struct bench *b = ctx;
    char *path = mem_printf("%s/%s", b->dir, name);
    must(disk_unlink(b->env->disk, path, NULL), &(struct errbuf){.text = "unlink"});
    mem_free(path);
}

static void remove_log(struct bench *b)
{
    struct errbuf why;
    must(disk_list(b->env->disk, b->dir, remove_one, b, &why), &why);
    must(disk_rmdir(b->env->disk, b->dir, &why), &why);
}

static size_t number(int argc, char **argv, int at, size_t otherwise)
{
    return argc > at ? (size_t)strtoull(argv[at], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    size_t lone_count = number(argc, argv, 2, 2000);
    size_t group_count = number(argc, argv, 3, 200000);
    size_t read_count = number(argc, argv, 4, 1000000);
    struct bench b = {.env = posix_env_new()};
    struct errbuf why;
    struct raft_payload *payload = raft_payload_new(ENTRY_BYTES);
    memset(payload->bytes, 'x', ENTRY_BYTES);
    b.loop = loop_new(b.env);
    b.dir = mem_printf("%s/etcdc-wal-bench-%d", argc > 1 ? argv[1] : "/var/tmp", (int)getpid());
    must(wal_create(b.env->disk, b.dir, SLICE("\x08\x01\x10\x02"), 0, &why), &why);
    open_log(&b, false);
    lone(&b, payload, lone_count);
    group(&b, payload, group_count);
    wal_close(&b.wal);
    open_log(&b, true);
    if (read_count >= b.next) {
        group(&b, payload, read_count - b.next + 1);
    }
    wal_close(&b.wal);
    open_log(&b, true);
    wal_close(&b.wal);
    remove_log(&b);
    raft_payload_unref(&payload);
    mem_free(b.dir);
    loop_free(&b.loop);
    posix_env_free(&b.env);
    return 0;
}
