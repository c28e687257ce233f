/* Shows a write-ahead log as text, or writes one, so that tests can compare it with Go etcd's.
 *
 *   wal_dump read DIR [INDEX TERM]     what it holds beyond a snapshot
 *   wal_dump write DIR SEGMENT COUNT   a new log: COUNT entries, some large, in small batches, with
 *                                      a snapshot record half-way
 *
 * Lines: "metadata HEX", "state TERM VOTE COMMIT", "entry INDEX TERM TYPE LEN CRC32C". */
#include "base/digest.h"
#include "base/mem.h"
#include "env/loop.h"
#include "env/posix.h"
#include "storage/wal.h"

#include <stdio.h>
#include <stdlib.h>

static void print_contents(struct wal_contents *contents)
{
    struct buf hex = {0};
    buf_append_hex(&hex, buf_slice(&contents->metadata));
    printf("metadata %s\n", buf_cstr(&hex));
    printf("state %llu %llu %llu\n", (unsigned long long)contents->hard_state.term,
           (unsigned long long)contents->hard_state.vote,
           (unsigned long long)contents->hard_state.commit);
    for (size_t i = 0; i < contents->entry_count; i++) {
        const struct raft_entry *entry = &contents->entries[i];
        struct slice data = raft_payload_slice(entry->payload);
        printf("entry %llu %llu %d %zu %08x\n", (unsigned long long)entry->index,
               (unsigned long long)entry->term, (int)entry->type, data.len,
               crc32c(0, data.data, data.len));
    }
    buf_fini(&hex);
}

static int read_log(const char *dir, struct wal_position start)
{
    struct wal_contents contents;
    struct errbuf why;
    if (wal_read(posix_disk(), dir, start, &contents, &why) != ERR_OK) {
        fprintf(stderr, "%s\n", why.text);
        return 1;
    }
    print_contents(&contents);
    wal_contents_fini(&contents);
    return 0;
}

struct save {
    struct wal_write write;
    bool is_done;
};

static void saved(struct wal_write *write)
{
    CONTAINER_OF(write, struct save, write)->is_done = true;
}

static void append_and_wait(struct loop *loop, struct wal *wal, struct save *save)
{
    save->write.done = saved;
    wal_append(wal, &save->write);
    while (!save->is_done) {
        loop_turn(loop, true);
    }
}

/* Entry `index` has up to 3,000 bytes; every 50th has 200,000. */
static struct raft_entry make_entry(raft_index index)
{
    size_t len = index % 50 == 0 ? 200000 : (size_t)(index * 37 % 3000);
    struct raft_entry entry = {.index = index, .term = 1 + index / 100};
    if (len > 0) {
        entry.payload = raft_payload_new(len);
        for (size_t i = 0; i < len; i++) {
            entry.payload->bytes[i] = (uint8_t)(index + i);
        }
    }
    return entry;
}

static void write_entries(struct loop *loop, struct wal *wal, raft_index count)
{
    for (raft_index index = 1; index <= count; index++) {
        struct raft_entry entry = make_entry(index);
        struct save save = {.write = {.entries = &entry, .entry_count = 1, .must_sync = true}};
        save.write.has_hard_state = index % 3 == 0;
        save.write.hard_state =
            (struct raft_hard_state){.term = entry.term, .vote = 7, .commit = index - 1};
        append_and_wait(loop, wal, &save);
        raft_payload_unref(&entry.payload);
        if (index == count / 2) {
            struct wal_snapshot snapshot = {.index = index, .term = entry.term};
            snapshot.conf_state.voters = (struct raft_id_set){.count = 1, .ids = {7}};
            struct save record = {.write = {.snapshot = &snapshot}};
            append_and_wait(loop, wal, &record);
        }
    }
}

static int write_log(const char *dir, uint64_t segment_bytes, raft_index count)
{
    struct env *env = posix_env_new();
    struct loop *loop = loop_new(env);
    struct wal_config config = {.env = env, .dir = dir, .segment_bytes = segment_bytes};
    struct wal_contents contents;
    struct wal *wal = NULL;
    struct errbuf why;
    enum err err = wal_create(env->disk, dir, SLICE("\x08\x07\x10\x09"), segment_bytes, &why);
    if (err == ERR_OK) {
        err = wal_open(&config, (struct wal_position){0}, &wal, &contents, &why);
    }
    if (err == ERR_OK) {
        wal_contents_fini(&contents);
        write_entries(loop, wal, count);
    } else {
        fprintf(stderr, "%s\n", why.text);
    }
    wal_close(&wal);
    loop_free(&loop);
    posix_env_free(&env);
    return err == ERR_OK ? 0 : 1;
}

static uint64_t number(const char *text)
{
    uint64_t value = 0;
    if (slice_to_u64(slice_str(text), &value) != ERR_OK) {
        fatal("%s: not a number", text);
    }
    return value;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "write") == 0) {
        return write_log(argv[2], number(argv[3]), number(argv[4]));
    }
    if ((argc == 3 || argc == 5) && strcmp(argv[1], "read") == 0) {
        struct wal_position start = {0};
        if (argc == 5) {
            start = (struct wal_position){.index = number(argv[3]), .term = number(argv[4])};
        }
        return read_log(argv[2], start);
    }
    fprintf(stderr, "usage: wal_dump read DIR [INDEX TERM] | write DIR SEGMENT COUNT\n");
    return 2;
}
