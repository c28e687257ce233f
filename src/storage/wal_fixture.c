#include "storage/wal_fixture.h"

#include "storage/wal_priv.h"

struct wal_world wal_world_new(void)
{
    struct wal_world w = {.env = posix_env_new()};
    w.loop = loop_new(w.env);
    w.dir = mem_printf("%s/wal", test_dir());
    return w;
}

void wal_world_fini(struct wal_world *w)
{
    wal_close(&w->wal);
    loop_free(&w->loop);
    posix_env_free(&w->env);
    mem_free(w->dir);
}

void wal_world_create(struct wal_world *w, uint64_t segment_bytes)
{
    struct errbuf why;
    enum err err = wal_create(w->env->disk, w->dir, SLICE("\x08\x01\x10\x02"), segment_bytes, &why);
    if (err != ERR_OK) {
        print_error("%s\n", why.text);
    }
    assert_int_equal(err, ERR_OK);
}

enum err wal_world_try_open(struct wal_world *w, uint64_t segment_bytes, struct wal_position start,
                            struct wal_contents *contents, struct errbuf *why)
{
    struct wal_config config = {.env = w->env, .dir = w->dir, .segment_bytes = segment_bytes};
    *contents = (struct wal_contents){0};
    return wal_open(&config, start, &w->wal, contents, why);
}

void wal_world_open(struct wal_world *w, uint64_t segment_bytes, struct wal_position start,
                    struct wal_contents *contents)
{
    struct errbuf why;
    enum err err = wal_world_try_open(w, segment_bytes, start, contents, &why);
    if (err != ERR_OK) {
        print_error("%s\n", why.text);
    }
    assert_int_equal(err, ERR_OK);
}

void wal_world_open_new(struct wal_world *w, uint64_t segment_bytes)
{
    struct wal_contents contents;
    wal_world_create(w, segment_bytes);
    wal_world_open(w, segment_bytes, WAL_ORIGIN, &contents);
    assert_int_equal(contents.entry_count, 0);
    wal_contents_fini(&contents);
}

void wal_pending_done(struct wal_write *write)
{
    struct wal_pending *pending = CONTAINER_OF(write, struct wal_pending, write);
    pending->order = ++pending->world->done_count;
}

void wal_world_submit(struct wal_world *w, struct wal_pending *p, raft_index first, size_t count,
                      raft_term term, size_t len)
{
    *p = (struct wal_pending){.world = w};
    p->entries = mem_array(count, sizeof(p->entries[0]));
    for (size_t i = 0; i < count; i++) {
        struct raft_payload *payload = raft_payload_new(len);
        memset(payload->bytes, (int)(first + i) & 0xff, len);
        p->entries[i] = (struct raft_entry){.index = first + i, .term = term, .payload = payload};
    }
    p->write.entries = p->entries;
    p->write.entry_count = count;
    p->write.must_sync = count > 0;
    p->write.has_hard_state = true;
    p->write.hard_state =
        (struct raft_hard_state){.term = term, .vote = 1, .commit = first + count - 1};
    p->write.done = wal_pending_done;
    wal_append(w->wal, &p->write);
}

void wal_world_wait(struct wal_world *w, struct wal_pending *p)
{
    while (p->order == 0) {
        loop_turn(w->loop, true);
    }
    for (size_t i = 0; i < p->write.entry_count; i++) {
        raft_payload_unref(&p->entries[i].payload);
    }
    mem_free(p->entries);
    wal_check(w->wal);
}

void wal_world_append(struct wal_world *w, raft_index first, size_t count, raft_term term,
                      size_t len)
{
    struct wal_pending p;
    wal_world_submit(w, &p, first, count, term, len);
    wal_world_wait(w, &p);
}

void wal_world_save_snapshot(struct wal_world *w, raft_index index, raft_term term)
{
    struct wal_snapshot snapshot = {.index = index, .term = term};
    snapshot.conf_state.voters = (struct raft_id_set){.count = 1, .ids = {1}};
    struct wal_pending p = {.world = w};
    p.write.snapshot = &snapshot;
    p.write.done = wal_pending_done;
    wal_append(w->wal, &p.write);
    wal_world_wait(w, &p);
}

void wal_check_entries(const struct wal_contents *contents, raft_index first, size_t count)
{
    assert_int_equal(contents->entry_count, count);
    for (size_t i = 0; i < count; i++) {
        const struct raft_entry *entry = &contents->entries[i];
        assert_int_equal(entry->index, first + i);
        struct slice data = raft_payload_slice(entry->payload);
        for (size_t k = 0; k < data.len; k++) {
            assert_int_equal(data.data[k], (first + i) & 0xff);
        }
    }
}

void wal_world_reopen(struct wal_world *w, uint64_t segment_bytes, struct wal_position start,
                      struct wal_contents *contents)
{
    wal_close(&w->wal);
    wal_world_open(w, segment_bytes, start, contents);
}

char *wal_world_first_segment(struct wal_world *w)
{
    return wal__path(w->dir, (struct wal__segment){0});
}

struct buf wal_world_read_file(struct wal_world *w, const char *path)
{
    struct buf bytes = {0};
    assert_int_equal(disk_read_file(w->env->disk, path, (size_t)1 << 30, &bytes, NULL), ERR_OK);
    return bytes;
}

void wal_world_write_file(struct wal_world *w, const char *path, struct slice bytes)
{
    assert_int_equal(disk_write_file(w->env->disk, path, bytes, NULL), ERR_OK);
}
