/* The steps of a restore, in this order:
 *
 *   1. the database is copied to "db.tmp.restore", its digest checked
 *   2. one transaction there: members replaced, consistent index and term set to the new log's end,
 *      and, if asked for, the revision bumped
 *   3. the log: one entry a member, the hard state
 *   4. the .snap file, then its record in the log
 *   5. the database gets its name */
#include "server/restore.h"

#include "base/digest.h"
#include "base/mem.h"
#include "base/url.h"
#include "codec/raftpb.h"
#include "server/config.h"
#include "server/ids.h"
#include "server/server_priv.h"
#include "state/member.h"
#include "storage/bolt.h"
#include "storage/revision.h"

#include <inttypes.h>
#include <stdio.h>

#define COPY_STEP ((size_t)1 << 20)
#define RESTORE_TERM 1
/* What is behind the pages is a digest when the size says so: pages are multiples of 512 bytes. */
#define DIGEST_REMAINDER (SHA256_LEN)

struct restore {
    const struct restore_options *options;
    struct disk *disk;
    struct arena arena;
    struct errbuf *why;
    const char *snap_dir;
    const char *db_path;
    const char *temporary;
    const char *wal_dir;
    struct member_set *members;
    struct raft_conf_state conf_state;
    uint64_t cluster_id;
    uint64_t member_id; /* our own */
};

/* ---- who is in the new cluster -----------------------------------------------------------------
 */

static FALLIBLE add_members(struct restore *r, const struct url_map *map)
{
    uint64_t *ids = arena_alloc(&r->arena, (map->count + 1) * sizeof(ids[0]));
    for (size_t i = 0; i < map->count; i++) {
        const struct url_map_entry *entry = &map->items[i];
        ids[i] = ids_member(url_list_texts(&r->arena, &entry->urls), entry->urls.count,
                            r->options->initial_cluster_token);
        if (strcmp(entry->name, r->options->name) == 0) {
            r->member_id = ids[i];
        }
    }
    r->cluster_id = ids_cluster(ids, map->count);
    r->members = member_set_new(r->cluster_id);
    for (size_t i = 0; i < map->count; i++) {
        const struct url_map_entry *entry = &map->items[i];
        struct member member = {.id = ids[i], .name = mem_strdup(entry->name)};
        for (size_t k = 0; k < entry->urls.count; k++) {
            member_urls_add(&member.peer_urls, slice_str(entry->urls.items[k].text));
        }
        enum err err = member_set_add(r->members, &member);
        member_fini(&member);
        if (err != ERR_OK || !raft_id_set_add(&r->conf_state.voters, ids[i])) {
            return errf(r->why, ERR_INVALID,
                        "--initial-cluster %s has two members of one id, or "
                        "too many",
                        r->options->initial_cluster);
        }
    }
    return ERR_OK;
}

static FALLIBLE found_cluster(struct restore *r)
{
    struct url_list advertised;
    struct url_map map;
    TRY(url_list_parse(&r->arena, slice_str(r->options->peer_urls), &advertised, r->why));
    struct config_founding founding = {
        .arena = &r->arena,
        .name = r->options->name,
        .initial_cluster = r->options->initial_cluster,
        .advertised = &advertised,
    };
    TRY(config_check_founding(&founding, &map, r->why));
    return add_members(r, &map);
}

/* ---- the directory ------------------------------------------------------------------------------
 */

static void note_name(const char *name, void *ctx)
{
    bool *has_any = ctx;
    UNUSED(name);
    *has_any = true;
}

static FALLIBLE make_folders(struct restore *r)
{
    const char *data_dir = r->options->data_dir;
    struct errbuf ignored;
    bool has_any = false;
    if (disk_exists(r->disk, data_dir) &&
        (disk_list(r->disk, data_dir, note_name, &has_any, &ignored) != ERR_OK || has_any)) {
        return errf(r->why, ERR_INVALID, "data-dir \"%s\" not empty or could not be read",
                    data_dir);
    }
    if (r->options->wal_dir != NULL && disk_exists(r->disk, r->options->wal_dir)) {
        return errf(r->why, ERR_INVALID, "wal-dir \"%s\" exists", r->options->wal_dir);
    }
    return disk_mkdir_all(r->disk, r->snap_dir, 0700, r->why);
}

/* ---- the database -------------------------------------------------------------------------------
 */

/* Go's %v of a digest. */
static const char *digest_text(struct restore *r, const uint8_t digest[SHA256_LEN])
{
    struct buf text = {0};
    for (size_t i = 0; i < SHA256_LEN; i++) {
        buf_printf(&text, "%s%u", i == 0 ? "[" : " ", digest[i]);
    }
    buf_append_byte(&text, ']');
    const char *copy = arena_strndup(&r->arena, (const char *)text.data, text.len);
    buf_fini(&text);
    return copy;
}

static FALLIBLE copy_bytes(struct restore *r, struct file *source, struct file *target,
                           uint64_t size, uint8_t digest_out[SHA256_LEN])
{
    struct sha256 *sha = sha256_new();
    uint8_t *data = mem_alloc(COPY_STEP);
    enum err err = ERR_OK;
    for (uint64_t at = 0; at < size && err == ERR_OK; at += COPY_STEP) {
        size_t len = size - at < COPY_STEP ? (size_t)(size - at) : COPY_STEP;
        err = file_pread_all(source, data, len, at, r->why);
        if (err == ERR_OK) {
            sha256_update(sha, data, len);
            err = file_pwrite(target, data, len, at, r->why);
        }
    }
    sha256_final(sha, digest_out);
    mem_free(data);
    sha256_free(&sha);
    return err;
}

static FALLIBLE check_digest(struct restore *r, struct file *source, uint64_t size,
                             const uint8_t got[SHA256_LEN])
{
    uint8_t want[SHA256_LEN];
    TRY(file_pread_all(source, want, sizeof(want), size, r->why));
    if (memcmp(want, got, sizeof(want)) != 0) {
        return errf(r->why, ERR_CORRUPT, "expected sha256 %s, got %s", digest_text(r, want),
                    digest_text(r, got));
    }
    return ERR_OK;
}

static FALLIBLE copy_files(struct restore *r, struct file *source, struct file *target)
{
    uint64_t size = 0;
    uint8_t digest[SHA256_LEN];
    bool checks = !r->options->skip_hash_check;
    TRY(file_size(source, &size, r->why));
    bool has_digest = size % 512 == DIGEST_REMAINDER;
    if (!has_digest && checks) {
        return errf(r->why, ERR_INVALID, "snapshot missing hash but --skip-hash-check=false");
    }
    size -= has_digest ? SHA256_LEN : 0;
    TRY(copy_bytes(r, source, target, size, digest));
    return has_digest && checks ? check_digest(r, source, size, digest) : ERR_OK;
}

static FALLIBLE copy_database(struct restore *r)
{
    struct file *source = NULL;
    struct file *target = NULL;
    enum err err = disk_open(r->disk, r->options->snapshot_path, FILE_READ, &source, r->why);
    if (err == ERR_NOT_FOUND) {
        return errf(r->why, err, "open %s: no such file or directory", r->options->snapshot_path);
    }
    if (err == ERR_OK) {
        err = disk_open(r->disk, r->temporary, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &target,
                        r->why);
    }
    if (err == ERR_OK) {
        err = copy_files(r, source, target);
    }
    file_close(&source);
    file_close(&target);
    return err;
}

static FALLIBLE fresh_bucket(struct bolt_tx *tx, const char *name, struct bolt_bucket **out)
{
    enum err err = bolt_bucket_drop(bolt_root(tx), slice_str(name));
    if (err != ERR_NOT_FOUND) {
        TRY(err);
    }
    return bolt_bucket_create(bolt_root(tx), slice_str(name), out);
}

static FALLIBLE put_members(const struct restore *r, struct bolt_tx *tx)
{
    struct bolt_bucket *bucket = NULL;
    struct buf row = {0};
    enum err err = ERR_OK;
    TRY(fresh_bucket(tx, backend_bucket_name(BUCKET_MEMBERS_REMOVED), &bucket));
    TRY(fresh_bucket(tx, backend_bucket_name(BUCKET_MEMBERS), &bucket));
    for (size_t i = 0; i < member_set_count(r->members) && err == ERR_OK; i++) {
        const struct member *member = member_set_at(r->members, i);
        char key[24];
        snprintf(key, sizeof(key), "%" PRIx64, member->id);
        buf_reset(&row);
        member_encode_row(member, &row);
        err = bolt_put(bucket, slice_str(key), buf_slice(&row));
    }
    buf_fini(&row);
    return err;
}

static FALLIBLE put_meta(const struct restore *r, struct bolt_bucket *meta)
{
    struct buf json = {0};
    uint8_t number[8];
    put_be64(number, member_set_count(r->members));
    TRY(bolt_put(meta, SLICE("consistent_index"), slice_of(number, sizeof(number))));
    put_be64(number, RESTORE_TERM);
    TRY(bolt_put(meta, SLICE("term"), slice_of(number, sizeof(number))));
    server__conf_state_json(&r->conf_state, &json);
    enum err err = bolt_put(meta, SLICE("confState"), buf_slice(&json));
    buf_fini(&json);
    return err;
}

/* An empty row far above the last one, and, if asked for, everything below it compacted. */
static FALLIBLE bump_revision(struct restore *r, struct bolt_tx *tx, struct bolt_bucket *meta)
{
    uint8_t name[TOMBSTONE_LEN];
    struct bolt_bucket *keys = NULL;
    struct bolt_cursor cursor;
    struct bolt_item item;
    struct revision last = {.main = 1};
    bool is_tombstone;
    TRY(bolt_bucket_ensure(bolt_root(tx), slice_str(backend_bucket_name(BUCKET_KEY)), &keys));
    bolt_cursor_init(&cursor, keys);
    enum err err = bolt_cursor_last(&cursor, &item);
    if (err != ERR_NOT_FOUND) {
        TRY(err);
        TRY(revision_decode(item.key, &last, &is_tombstone));
    }
    if (last.main > REVISION_MAIN_MAX ||
        r->options->revision_bump > (uint64_t)(REVISION_MAIN_MAX - last.main)) {
        return errf(r->why, ERR_INVALID, "--bump-revision %" PRIu64 " is too large",
                    r->options->revision_bump);
    }
    struct revision bumped = {.main = last.main + (int64_t)r->options->revision_bump};
    LOG_INFO(r->options->log, "bumping latest revision", log_i64("latest-revision", last.main),
             log_u64("bump-amount", r->options->revision_bump),
             log_i64("new-latest-revision", bumped.main));
    TRY(bolt_put(keys, revision_encode(bumped, false, name), SLICE_EMPTY));
    if (!r->options->mark_compacted) {
        return ERR_OK;
    }
    LOG_INFO(r->options->log, "marking revision compacted", log_i64("revision", bumped.main));
    return bolt_put(meta, SLICE("scheduledCompactRev"), revision_encode(bumped, false, name));
}

static FALLIBLE change_rows(struct restore *r, struct bolt_tx *tx)
{
    struct bolt_bucket *meta = NULL;
    TRY(bolt_bucket_ensure(bolt_root(tx), slice_str(backend_bucket_name(BUCKET_META)), &meta));
    TRY(put_members(r, tx));
    TRY(put_meta(r, meta));
    return r->options->revision_bump > 0 ? bump_revision(r, tx, meta) : ERR_OK;
}

static FALLIBLE change_database(struct restore *r)
{
    struct bolt_options options = {.no_freelist_sync = true};
    struct bolt *db = NULL;
    struct bolt_tx *tx = NULL;
    TRY(bolt_open(r->disk, r->temporary, &options, &db, r->why));
    enum err err = bolt_write_begin(db, &tx, r->why);
    if (err == ERR_OK) {
        r->why->text[0] = '\0';
        err = change_rows(r, tx);
        if (err == ERR_OK) {
            err = bolt_commit(&tx, r->why);
        } else if (r->why->text[0] == '\0') {
            errf(r->why, err, "%s: %s", r->options->snapshot_path,
                 bolt_tx_why(tx)[0] == '\0' ? "the last key is no revision" : bolt_tx_why(tx));
        }
        bolt_rollback(&tx);
    }
    bolt_close(&db);
    return err;
}

/* ---- the log ------------------------------------------------------------------------------------
 */

struct waiting_write {
    struct wal_write write;
    bool is_done;
};

static void write_done(struct wal_write *write)
{
    CONTAINER_OF(write, struct waiting_write, write)->is_done = true;
}

static void append_and_wait(struct restore *r, struct wal *wal, struct waiting_write *waiting)
{
    waiting->write.must_sync = true;
    waiting->write.done = write_done;
    wal_append(wal, &waiting->write);
    while (!waiting->is_done) {
        env_poll(r->options->env, UINT64_MAX);
    }
}

/* The entry that makes a member; its context is what etcd puts there. */
static struct raft_entry member_entry(const struct member *member, raft_index index)
{
    struct buf context = {0};
    struct buf bytes = {0};
    member_encode_row(member, &context);
    struct raftpb_conf_change change = {
        .type = RAFTPB_ADD_NODE,
        .node_id = member->id,
        .context = buf_slice(&context),
    };
    raftpb_conf_change_put(buf_extend(&bytes, raftpb_conf_change_size(&change)), &change);
    struct raft_entry entry = {
        .index = index,
        .term = RESTORE_TERM,
        .type = RAFT_ENTRY_CONF_CHANGE,
        .payload = raft_payload_copy(buf_slice(&bytes)),
    };
    buf_fini(&bytes);
    buf_fini(&context);
    return entry;
}

static void append_entries(struct restore *r, struct wal *wal)
{
    size_t count = member_set_count(r->members);
    struct raft_entry *entries = mem_array(count, sizeof(entries[0]));
    for (size_t i = 0; i < count; i++) {
        entries[i] = member_entry(member_set_at(r->members, i), i + 1);
    }
    struct waiting_write waiting = {
        .write = {.entries = entries,
                  .entry_count = count,
                  .has_hard_state = true,
                  .hard_state = {.term = RESTORE_TERM,
                                 .vote = member_set_at(r->members, 0)->id,
                                 .commit = count}},
    };
    append_and_wait(r, wal, &waiting);
    for (size_t i = 0; i < count; i++) {
        raft_payload_unref(&entries[i].payload);
    }
    mem_free(entries);
}

static FALLIBLE append_snapshot(struct restore *r, struct wal *wal)
{
    struct buf document = {0};
    struct wal_snapshot record = {
        .index = member_set_count(r->members),
        .term = RESTORE_TERM,
        .conf_state = r->conf_state,
    };
    member_set_encode_v2(r->members, record.index, &document);
    struct snap snap = {
        .index = record.index,
        .term = record.term,
        .conf_state = record.conf_state,
        .data = buf_slice(&document),
    };
    enum err err = snap_save(r->disk, r->snap_dir, &snap, r->why);
    if (err == ERR_OK) {
        struct waiting_write waiting = {.write = {.snapshot = &record}};
        append_and_wait(r, wal, &waiting);
    }
    buf_fini(&document);
    return err;
}

static FALLIBLE make_log(struct restore *r)
{
    struct raftpb_metadata metadata = {.node_id = r->member_id, .cluster_id = r->cluster_id};
    struct wal_config config = {.env = r->options->env, .dir = r->wal_dir};
    struct wal_contents contents = {0};
    struct wal *wal = NULL;
    struct buf bytes = {0};
    raftpb_metadata_put(buf_extend(&bytes, raftpb_metadata_size(&metadata)), &metadata);
    enum err err = wal_create(r->disk, r->wal_dir, buf_slice(&bytes), 0, r->why);
    buf_fini(&bytes);
    if (err == ERR_OK) {
        err = wal_open(&config, (struct wal_position){0}, &wal, &contents, r->why);
    }
    if (err == ERR_OK) {
        append_entries(r, wal);
        err = append_snapshot(r, wal);
    }
    wal_close(&wal);
    wal_contents_fini(&contents);
    return err;
}

/* ---- all of it ----------------------------------------------------------------------------------
 */

static FALLIBLE run(struct restore *r)
{
    TRY(found_cluster(r));
    TRY(make_folders(r));
    TRY(copy_database(r));
    TRY(change_database(r));
    TRY(make_log(r));
    TRY(disk_rename(r->disk, r->temporary, r->db_path, r->why));
    return disk_sync_dir(r->disk, r->snap_dir, r->why);
}

static void log_paths(const struct restore *r, const char *message)
{
    LOG_INFO(r->options->log, message, log_str("path", r->options->snapshot_path),
             log_str("wal-dir", r->wal_dir), log_str("data-dir", r->options->data_dir),
             log_str("snap-dir", r->snap_dir));
}

FALLIBLE restore_run(const struct restore_options *options, struct errbuf *why)
{
    struct restore r = {.options = options, .disk = options->env->disk, .why = why};
    arena_init(&r.arena);
    r.snap_dir = arena_printf(&r.arena, "%s/member/snap", options->data_dir);
    r.db_path = arena_printf(&r.arena, "%s/db", r.snap_dir);
    r.temporary = arena_printf(&r.arena, "%s/db.tmp.restore", r.snap_dir);
    r.wal_dir = options->wal_dir != NULL
                    ? options->wal_dir
                    : arena_printf(&r.arena, "%s/member/wal", options->data_dir);
    log_paths(&r, "restoring snapshot");
    enum err err = run(&r);
    if (err == ERR_OK) {
        log_paths(&r, "restored snapshot");
    }
    member_set_free(&r.members);
    arena_fini(&r.arena);
    return err;
}
