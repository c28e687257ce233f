/* Appending.
 *
 *   loop thread                          the wal's executor (one thread)
 *   wal_append: queue
 *   go_on: wait for company (wal_gather.h), or
 *   start: queue -> job, submit  ----->  encode, pwrite, fdatasync, perhaps cut
 *   done: next job, then done()s <-----
 *
 * Invariants:
 *  1. At most one job is in flight. While it is, only the job touches `tail`; the loop owns
 *     everything else, including the files of all segments but the last.
 *  2. What a job writes follows directly on what the one before wrote: offset and checksum chain
 *     live in `tail`.
 *  3. Beyond tail.offset the last segment holds only zeros.
 *  4. A segment gets its name only when its first records are durable, and then the directory is
 *     synced before anything is acknowledged out of it.
 *  5. Nothing is written beyond tail.room, up to which the file is allocated: a full disk is met
 *     where the file is made or grown, and never by a write or a sync, which could not be undone.
 *  6. Without a next segment there is no cut: the last one grows, and the log says that it is short
 *     of space (docs/notes/out-of-space.md).
 *
 * Encoding happens on the executor, so that a batch costs the loop one submit. */
#include "storage/wal_priv.h"

#include "base/failpoint.h"
#include "base/mem.h"
#include "codec/pbwire.h"
#include "env/loop.h"
#include "storage/wal_gather.h"

#define WAL_MAGIC 0x77616c31u
/* A batch larger than this leaves in several writes, still with one sync: memory stays bounded. */
#define WRITE_BYTES_MAX ((size_t)1 << 20)
/* More than a record takes beside an entry's data: framing, padding and eight fields of ten bytes.
 */
#define RECORD_BYTES_SMALL ((size_t)160)
/* By this much a segment grows that is to hold more than it was made for, if there is room. */
#define GROW_BYTES ((uint64_t)256 << 10)
/* This part of a segment is kept for what raft and the way back need when space runs out. */
#define RESERVE_PART 8
/* A whole segment is not asked for again at every save while the disk is full. */
#define RETRY_NS NS_PER_SEC

/* What the job in flight owns. */
struct tail {
    struct file *file;
    struct wal__segment segment;
    uint64_t offset;  /* of the next byte in the file, without what is in `out` */
    uint64_t room;    /* the file is allocated up to here */
    mono_ns retry_at; /* a segment that could not be made is tried again from then on */
    uint32_t crc;
    raft_index last_index;
    struct raft_hard_state state; /* last one written: begins the next segment */
    struct buf out;               /* encoded and not yet written */
    bool is_dirty;                /* written and not yet synced */
};

struct open_segment {
    struct wal__segment segment;
    struct file *file;
};

/* A preallocated file under a temporary name. */
struct spare {
    struct job job;
    struct wal *wal; /* NULL: the wal was closed meanwhile */
    struct disk *disk;
    uint64_t bytes;
    char *path;
    struct file *file; /* NULL: it could not be made; the cut will try again and say why */
    enum err err;
};

struct wal_job {
    struct job job;
    struct list writes;
    size_t entry_count;        /* of the writes */
    struct file *spare;        /* in: for the next cut; out: NULL when it was used */
    struct open_segment *cuts; /* out: segments begun */
    size_t cut_count;
    size_t unprepared_count;
    bool is_short; /* out: there was no room for the next segment */
    uint64_t bytes;
    uint64_t sync_ns;
    size_t sync_count;
};

struct wal {
    uint32_t magic;
    struct env *env;
    struct executor *executor;
    char *dir;
    struct buf metadata;
    uint64_t segment_bytes;
    bool unsafe_no_fsync;
    wal_synced_fn *synced;
    wal_space_fn *space_changed;
    void *ctx; /* of both */

    struct list queue; /* writes that wait for the job in flight, or for company */
    size_t queued;     /* entries of those */
    struct loop *loop; /* NULL: nothing waits for company */
    struct timer gathered;
    struct gather gather;
    bool has_deferred;
    struct raft_hard_state deferred;
    struct open_segment *segments; /* locked ones; the last is the tail */
    size_t segment_count;
    size_t segment_cap;
    struct file *spare;
    struct spare *preparing;
    bool is_short; /* of space: the last try to make the next segment met a full disk */
    enum wal_space space;
    unsigned spare_seq;
    struct wal_stats stats;

    bool is_running;
    struct wal_job job;
    struct tail tail;
};

/* ---- on the executor --------------------------------------------------------------------- */

__attribute__((noreturn)) static void die(const struct wal *wal, const struct errbuf *why)
{
    fatal("write-ahead log %s: %s: nothing more can be promised; free or repair the disk and "
          "start the member again",
          wal->dir, why->text);
}

static void flush(struct wal *wal)
{
    struct tail *tail = &wal->tail;
    struct errbuf why;
    if (tail->out.len == 0) {
        return;
    }
    ASSERT(tail->offset + tail->out.len <= tail->room);
    if (file_pwrite(tail->file, tail->out.data, tail->out.len, tail->offset, &why) != ERR_OK) {
        die(wal, &why);
    }
    tail->offset += tail->out.len;
    tail->is_dirty = true;
    wal->job.bytes += tail->out.len;
    buf_reset(&tail->out);
}

static void sync_tail(struct wal *wal)
{
    struct errbuf why;
    if (!wal->tail.is_dirty) {
        return;
    }
    if (!wal->unsafe_no_fsync) {
        mono_ns begun = env_now_mono(wal->env);
        if (file_sync_data(wal->tail.file, &why) != ERR_OK) {
            die(wal, &why);
        }
        wal->job.sync_ns += env_now_mono(wal->env) - begun;
        wal->job.sync_count++;
    }
    wal->tail.is_dirty = false;
}

/* What was allocated before the disk was full goes back: others may need it. */
static void give_back(struct disk *disk, struct file **file)
{
    char *path = mem_strdup((*file)->path);
    enum err ignored = file_truncate(*file, 0, NULL);
    file_close(file);
    ignored = disk_unlink(disk, path, NULL);
    UNUSED(ignored);
    mem_free(path);
}

static FALLIBLE make_spare(struct disk *disk, const char *path, uint64_t bytes, struct file **out,
                           struct errbuf *why)
{
    struct file *file = NULL;
    TRY(disk_open(disk, path, FILE_READ | FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &file, why));
    enum err err = file_lock(file, FILE_LOCK_OFD_EXCLUSIVE, why);
    if (err == ERR_OK) {
        err = file_preallocate(file, bytes, why);
    }
    if (err == ERR_OK) {
        err = file_sync(file, why);
    }
    if (err != ERR_OK) {
        give_back(disk, &file);
        return err;
    }
    *out = file;
    return ERR_OK;
}

/* NULL: there is no room for it now. */
static struct file *take_spare(struct wal *wal)
{
    struct file *file = wal->job.spare;
    struct errbuf why;
    wal->job.spare = NULL;
    if (file != NULL || env_now_mono(wal->env) < wal->tail.retry_at) {
        return file;
    }
    char *path = mem_printf("%s/cut.tmp", wal->dir);
    enum err err = make_spare(wal->env->disk, path, wal->segment_bytes, &file, &why);
    mem_free(path);
    if (err == ERR_NOSPACE) {
        wal->job.is_short = true;
        wal->tail.retry_at = env_now_mono(wal->env) + RETRY_NS;
        return NULL;
    }
    if (err != ERR_OK) {
        die(wal, &why);
    }
    wal->job.unprepared_count++;
    return file;
}

/* Gives what was written its final length. */
static FALLIBLE finish_segment(struct wal *wal, struct errbuf *why)
{
    TRY(file_truncate(wal->tail.file, wal->tail.offset, why));
    if (!wal->unsafe_no_fsync) {
        TRY(file_sync(wal->tail.file, why));
    }
    wal->tail.is_dirty = false;
    return ERR_OK;
}

/* The first records of the next segment, durable before it gets its name. */
static FALLIBLE begin_segment(struct wal *wal, struct file *file, struct wal__segment segment,
                              struct errbuf *why)
{
    struct tail *tail = &wal->tail;
    tail->file = file;
    tail->segment = segment;
    tail->offset = 0;
    tail->room = wal->segment_bytes;
    tail->retry_at = 0;
    wal__put_record(&tail->out, &tail->crc, WAL_RECORD_CRC, SLICE_EMPTY, SLICE_EMPTY);
    wal__put_record(&tail->out, &tail->crc, WAL_RECORD_METADATA, buf_slice(&wal->metadata),
                    SLICE_EMPTY);
    if (tail->state.term != 0 || tail->state.vote != 0 || tail->state.commit != 0) {
        wal__put_state(&tail->out, &tail->crc, &tail->state);
    }
    flush(wal);
    sync_tail(wal);
    char *path = wal__path(wal->dir, segment);
    enum err err = disk_rename(wal->env->disk, file->path, path, why);
    if (err == ERR_OK) {
        mem_free(file->path);
        file->path = path;
        err = disk_sync_dir(wal->env->disk, wal->dir, why);
    } else {
        mem_free(path);
    }
    return err;
}

/* False: there is no room for another segment. */
static bool cut(struct wal *wal)
{
    struct errbuf why;
    struct wal__segment next = {.seq = wal->tail.segment.seq + 1,
                                .first = wal->tail.last_index + 1};
    struct file *file = take_spare(wal);
    if (file == NULL) {
        return false;
    }
    flush(wal);
    if (finish_segment(wal, &why) != ERR_OK) {
        die(wal, &why);
    }
    if (begin_segment(wal, file, next, &why) != ERR_OK) {
        die(wal, &why);
    }
    struct wal_job *job = &wal->job;
    job->cuts = mem_realloc(job->cuts, (job->cut_count + 1) * sizeof(job->cuts[0]));
    job->cuts[job->cut_count++] = (struct open_segment){.segment = next, .file = file};
    return true;
}

/* Makes sure that `need` bytes more can be written. A segment is cut behind the save that fills it,
 * so the last save of each may reach over its end: then the file grows. Where it cannot, what was
 * saved so far may be finished and the rest go to the next segment. */
static void make_room(struct wal *wal, size_t need)
{
    struct tail *tail = &wal->tail;
    struct errbuf why;
    uint64_t end = tail->offset + tail->out.len + need;
    if (end <= tail->room) {
        return;
    }
    uint64_t room = end + GROW_BYTES;
    enum err err = file_preallocate(tail->file, room, &why);
    if (err == ERR_NOSPACE) {
        room = end;
        err = file_preallocate(tail->file, room, &why);
    }
    if (err == ERR_NOSPACE && need < wal->segment_bytes / 2 && cut(wal)) {
        return;
    }
    if (err != ERR_OK) {
        die(wal, &why);
    }
    tail->room = room;
}

static void put_state(struct wal *wal, const struct raft_hard_state *state)
{
    struct tail *tail = &wal->tail;
    if (state->term != 0 || state->vote != 0 || state->commit != 0) {
        make_room(wal, RECORD_BYTES_SMALL);
        wal__put_state(&tail->out, &tail->crc, state);
        tail->state = *state;
    }
}

static void put_entries(struct wal *wal, const struct wal_write *write)
{
    struct tail *tail = &wal->tail;
    for (size_t i = 0; i < write->entry_count; i++) {
        const struct raft_payload *payload = write->entries[i].payload;
        make_room(wal, RECORD_BYTES_SMALL + (payload == NULL ? 0 : payload->len));
        wal__put_entry(&tail->out, &tail->crc, &write->entries[i]);
        tail->last_index = write->entries[i].index;
        if (tail->out.len >= WRITE_BYTES_MAX) {
            flush(wal);
        }
    }
}

/* A bound for the record of a snapshot, whose size is that of its members. */
static size_t snapshot_bytes_max(const struct wal_snapshot *snapshot)
{
    const struct raft_conf_state *conf = &snapshot->conf_state;
    size_t ids = conf->voters.count + conf->learners.count + conf->voters_outgoing.count +
                 conf->learners_next.count;
    return RECORD_BYTES_SMALL + ids * (1 + PBWIRE_VARINT_MAX);
}

static void put_write(struct wal *wal, const struct wal_write *write)
{
    struct tail *tail = &wal->tail;
    if (write->snapshot != NULL) {
        const struct wal_snapshot *snapshot = write->snapshot;
        struct wal_position at = {.index = snapshot->index, .term = snapshot->term};
        make_room(wal, snapshot_bytes_max(snapshot));
        wal__put_snapshot(&tail->out, &tail->crc, at, &snapshot->conf_state);
        if (tail->last_index < snapshot->index) {
            tail->last_index = snapshot->index;
        }
    }
    put_entries(wal, write);
    if (write->has_hard_state) {
        put_state(wal, &write->hard_state);
    }
    if (tail->offset + tail->out.len >= wal->segment_bytes) {
        (void)cut(wal);
    }
}

static void run(struct job *base)
{
    struct wal *wal = CONTAINER_OF(base, struct wal, job.job);
    bool must_sync = false;
    ASSERT(wal->magic == WAL_MAGIC);
    FAILPOINT(raftBeforeSave);
    LIST_FOR_EACH (&wal->job.writes, node) {
        const struct wal_write *write = CONTAINER_OF(node, struct wal_write, link);
        put_write(wal, write);
        must_sync = must_sync || write->must_sync || write->snapshot != NULL;
    }
    flush(wal);
    if (must_sync) {
        sync_tail(wal);
    }
    FAILPOINT(raftAfterSave);
    if (wal->tail.out.cap > 2 * WRITE_BYTES_MAX) { /* one huge entry: do not keep its room */
        buf_fini(&wal->tail.out);
    }
}

/* ---- the next segment -------------------------------------------------------------------- */

static void spare_run(struct job *base)
{
    struct spare *spare = CONTAINER_OF(base, struct spare, job);
    spare->err = make_spare(spare->disk, spare->path, spare->bytes, &spare->file, NULL);
    if (spare->err != ERR_OK) {
        spare->file = NULL;
    }
}

/* Room that the last segment still has is told from the one that is missing. The job must not be
 * running: the tail is looked at. */
static void tell_space(struct wal *wal)
{
    uint64_t reserve = wal->segment_bytes / RESERVE_PART;
    enum wal_space space = WAL_SPACE_OK;
    ASSERT(!wal->is_running);
    if (wal->is_short && wal->spare == NULL) {
        space = wal->tail.offset + reserve > wal->tail.room ? WAL_SPACE_OUT : WAL_SPACE_LOW;
    }
    if (space != wal->space) {
        wal->space = space;
        if (wal->space_changed != NULL) {
            wal->space_changed(space, wal->ctx);
        }
    }
}

static void spare_done(struct job *base)
{
    struct spare *spare = CONTAINER_OF(base, struct spare, job);
    if (spare->wal != NULL) {
        struct wal *wal = spare->wal;
        ASSERT(wal->spare == NULL);
        wal->spare = spare->file;
        wal->preparing = NULL;
        wal->is_short = spare->err == ERR_NOSPACE;
        if (!wal->is_running) { /* else it is told with the job */
            tell_space(wal);
        }
    } else {
        file_close(&spare->file);
    }
    mem_free(spare->path);
    mem_free(spare);
}

static void prepare_spare(struct wal *wal)
{
    if (wal->env->pool == NULL || wal->preparing != NULL || wal->spare != NULL) {
        return;
    }
    struct spare *spare = NEW(struct spare);
    spare->job.run = spare_run;
    spare->job.done = spare_done;
    spare->wal = wal;
    spare->disk = wal->env->disk;
    spare->bytes = wal->segment_bytes;
    spare->path = mem_printf("%s/%u.tmp", wal->dir, wal->spare_seq++ % 2);
    wal->preparing = spare;
    executor_submit(wal->env->pool, &spare->job);
}

/* Begins to preallocate when the tail is half full; a full disk is asked again by wal_retry(). */
static void prepare_soon(struct wal *wal)
{
    ASSERT(!wal->is_running);
    uint64_t ahead = wal->tail.offset + wal->segment_bytes / 2;
    if (!wal->is_short && (ahead >= wal->segment_bytes || ahead >= wal->tail.room)) {
        prepare_spare(wal);
    }
}

void wal_retry(struct wal *wal)
{
    ASSERT(wal->magic == WAL_MAGIC);
    if (wal->is_short) {
        prepare_spare(wal);
    }
}

/* ---- on the loop ------------------------------------------------------------------------- */

static void segments_add(struct wal *wal, struct open_segment segment)
{
    if (wal->segment_count == wal->segment_cap) {
        wal->segment_cap = wal->segment_cap == 0 ? 8 : 2 * wal->segment_cap;
        wal->segments = mem_realloc(wal->segments, wal->segment_cap * sizeof(wal->segments[0]));
    }
    wal->segments[wal->segment_count++] = segment;
}

static void start(struct wal *wal)
{
    ASSERT(!wal->is_running);
    ASSERT(!list_empty(&wal->queue));
    struct wal_job *job = &wal->job;
    list_splice(&job->writes, &wal->queue);
    job->entry_count = wal->queued;
    if (wal->loop != NULL) {
        timer_stop(wal->loop, &wal->gathered);
    }
    wal->queued = 0;
    job->spare = wal->spare;
    wal->spare = NULL;
    wal->is_running = true;
    executor_submit(wal->executor, &job->job);
}

/* Something queues and nothing is in flight. */
static void go_on(struct wal *wal)
{
    mono_ns until =
        wal->loop == NULL ? 0 : gather_wait(&wal->gather, env_now_mono(wal->env), wal->queued);
    if (until == 0) {
        start(wal);
    } else if (!timer_running(&wal->gathered)) {
        wal->stats.gathers++;
        timer_start(wal->loop, &wal->gathered, until);
    }
}

static void gathered(struct timer *timer)
{
    start(CONTAINER_OF(timer, struct wal, gathered));
}

/* Takes over what the job did and forgets it; *finished gets its writes. */
static void collect(struct wal *wal, struct list *finished)
{
    struct wal_job *job = &wal->job;
    for (size_t i = 0; i < job->cut_count; i++) {
        segments_add(wal, job->cuts[i]);
    }
    wal->stats.cuts += job->cut_count;
    wal->stats.cuts_unprepared += job->unprepared_count;
    if (job->is_short || job->cut_count > 0) {
        wal->is_short = job->is_short;
    }
    job->is_short = false;
    wal->stats.bytes += job->bytes;
    wal->stats.syncs += job->sync_count;
    if (job->spare != NULL) { /* not used; else one may have come meanwhile */
        ASSERT(wal->spare == NULL);
        wal->spare = job->spare;
        job->spare = NULL;
    }
    mem_free(job->cuts);
    job->cuts = NULL;
    job->cut_count = 0;
    job->unprepared_count = 0;
    list_splice(finished, &job->writes);
    wal->is_running = false;
}

static void done(struct job *base)
{
    struct wal *wal = CONTAINER_OF(base, struct wal, job.job);
    struct wal_job *job = &wal->job;
    struct list finished;
    list_init(&finished);
    uint64_t sync_ns = job->sync_ns;
    uint64_t bytes = job->bytes;
    size_t sync_count = job->sync_count;
    if (wal->loop != NULL && sync_count == 1) {
        gather_synced(&wal->gather, env_now_mono(wal->env), sync_ns, job->entry_count, wal->queued);
    }
    collect(wal, &finished);
    job->sync_ns = 0;
    job->bytes = 0;
    job->sync_count = 0;
    prepare_soon(wal);
    tell_space(wal);
    if (!list_empty(&wal->queue)) { /* the disk first, then those who waited for it */
        go_on(wal);
    }
    if (wal->synced != NULL && sync_count > 0) {
        wal->synced(sync_ns, bytes, wal->ctx);
    }
    for (struct list *node = list_pop(&finished); node != NULL; node = list_pop(&finished)) {
        struct wal_write *write = CONTAINER_OF(node, struct wal_write, link);
        wal->stats.appends++;
        write->done(write);
    }
}

void wal_append(struct wal *wal, struct wal_write *write)
{
    ASSERT(wal->magic == WAL_MAGIC);
    ASSERT(write->done != NULL);
    ASSERT(write->entry_count == 0 || write->entries != NULL);
    SLOW_ASSERT(write->snapshot == NULL || write->snapshot->index > 0);
    list_add_tail(&wal->queue, &write->link);
    wal->queued += write->entry_count;
    if (wal->has_deferred && !write->has_hard_state) { /* else it brings a newer one */
        write->has_hard_state = true;
        write->hard_state = wal->deferred;
    }
    wal->has_deferred = false;
    if (wal->gather.awaited > 0) {
        gather_arrived(&wal->gather, env_now_mono(wal->env), write->entry_count);
    }
    if (!wal->is_running) {
        go_on(wal);
    }
}

void wal_defer_state(struct wal *wal, const struct raft_hard_state *state)
{
    ASSERT(wal->magic == WAL_MAGIC);
    wal->has_deferred = true;
    wal->deferred = *state;
}

void wal_release_to(struct wal *wal, raft_index index)
{
    size_t above = 0;
    while (above < wal->segment_count && wal->segments[above].segment.first < index) {
        above++;
    }
    if (above < 2) {
        return;
    }
    size_t released = above - 1; /* never the last one */
    for (size_t i = 0; i < released; i++) {
        file_close(&wal->segments[i].file);
    }
    wal->segment_count -= released;
    memmove(wal->segments, wal->segments + released, wal->segment_count * sizeof(wal->segments[0]));
}

/* ---- opening and closing ----------------------------------------------------------------- */

static FALLIBLE lock_segments(struct wal *wal, const struct wal__segments *segments,
                              struct errbuf *why)
{
    for (size_t i = 0; i < segments->count; i++) {
        struct open_segment segment = {.segment = segments->list[i]};
        char *path = wal__path(wal->dir, segment.segment);
        enum err err = disk_open(wal->env->disk, path, FILE_READ | FILE_WRITE, &segment.file, why);
        mem_free(path);
        TRY(err);
        segments_add(wal, segment); /* before the lock, so that closing finds it */
        TRY(file_lock(segment.file, FILE_LOCK_OFD_EXCLUSIVE, why));
    }
    return ERR_OK;
}

static FALLIBLE copy_file(struct file *from, struct file *to, uint64_t size, struct errbuf *why)
{
    struct buf chunk = {0};
    enum err err = ERR_OK;
    for (uint64_t at = 0; at < size && err == ERR_OK;) {
        size_t want = size - at < WRITE_BYTES_MAX ? (size_t)(size - at) : WRITE_BYTES_MAX;
        size_t got = 0;
        buf_reset(&chunk);
        err = file_pread(from, buf_extend(&chunk, want), want, at, &got, why);
        if (err == ERR_OK) {
            err = got == 0 ? errf(why, ERR_IO, "%s: ended while it was copied", from->path)
                           : file_pwrite(to, chunk.data, got, at, why);
        }
        at += got;
    }
    buf_fini(&chunk);
    return err;
}

/* Puts a copy of the torn segment aside and cuts the torn record off. */
static FALLIBLE repair(struct wal *wal, uint64_t offset, char **copy_out, struct errbuf *why)
{
    struct file *torn = wal->segments[wal->segment_count - 1].file;
    struct file *copy = NULL;
    uint64_t size;
    TRY(file_size(torn, &size, why));
    char *path = mem_printf("%s.broken", torn->path);
    enum err err = disk_open(wal->env->disk, path,
                             FILE_READ | FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &copy, why);
    if (err == ERR_OK) {
        err = copy_file(torn, copy, size, why);
    }
    if (err == ERR_OK) {
        err = file_sync(copy, why);
    }
    file_close(&copy);
    if (err == ERR_OK) {
        err = file_truncate(torn, offset, why);
    }
    if (err == ERR_OK) {
        err = file_sync(torn, why);
    }
    if (err != ERR_OK) {
        mem_free(path);
        return err;
    }
    *copy_out = path;
    return ERR_OK;
}

/* Is all of the tail's file behind its last record zero? What the file system knows to be a hole
 * need not be read. */
static FALLIBLE rest_is_zero(const struct tail *tail, uint64_t size, bool *out, struct errbuf *why)
{
    uint8_t bytes[4096];
    uint64_t at = tail->offset;
    bool is_zero = true;
    while (is_zero) {
        size_t got = 0;
        TRY(file_next_data(tail->file, at, &at, why));
        if (at >= size) {
            break;
        }
        TRY(file_pread(tail->file, bytes, sizeof(bytes), at, &got, why));
        for (size_t i = 0; i < got; i++) {
            is_zero = is_zero && bytes[i] == 0;
        }
        if (got == 0) {
            break;
        }
        at += got;
    }
    *out = is_zero;
    return ERR_OK;
}

/* Cutting the rest off and allocating it again costs less than writing zeros. Where somebody else
 * has taken the space meanwhile, the reserve is enough to serve what is there. */
static FALLIBLE cut_rest(struct wal *wal, struct errbuf *why)
{
    struct tail *tail = &wal->tail;
    TRY(file_truncate(tail->file, tail->offset, why));
    enum err err = file_preallocate(tail->file, tail->room, why);
    if (err == ERR_NOSPACE) {
        TRY(file_truncate(tail->file, tail->offset, why)); /* what it got before it was full */
        tail->room = tail->offset + wal->segment_bytes / RESERVE_PART;
        err = file_preallocate(tail->file, tail->room, why);
    }
    return err;
}

/* A zero frame ended the log, but parts of a batch that was never acknowledged may follow it:
 * writing over some of them would leave the others to be taken for records.
 *
 * And a process that was killed may have left records, and names, that can be read and are not on
 * the disk. From here on they count (a vote was given, an entry acknowledged to a leader), so they
 * have to last before anybody hears of them. */
static FALLIBLE settle(struct wal *wal, struct errbuf *why)
{
    struct tail *tail = &wal->tail;
    uint64_t size;
    bool is_clean;
    TRY(file_size(tail->file, &size, why));
    tail->room = size > wal->segment_bytes ? size : wal->segment_bytes;
    TRY(rest_is_zero(tail, size, &is_clean, why));
    if (!is_clean || size < tail->room) {
        TRY(cut_rest(wal, why));
    }
    if (wal->unsafe_no_fsync) {
        return ERR_OK;
    }
    TRY(file_sync(tail->file, why));
    TRY(disk_sync_dir(wal->env->disk, wal->dir, why));
    return wal__sync_ancestors(wal->env->disk, wal->dir, why);
}

static FALLIBLE read_repairing(struct wal *wal, const struct wal__segments *segments,
                               struct wal_position start_at, struct wal_contents *contents,
                               struct wal__tail *read, struct errbuf *why)
{
    TRY(wal__read_all(wal->env->disk, wal->dir, segments, start_at, contents, read, why));
    if (!read->is_torn) {
        return ERR_OK;
    }
    char *copy;
    wal_contents_fini(contents);
    TRY(repair(wal, read->offset, &copy, why));
    enum err err = wal__read_all(wal->env->disk, wal->dir, segments, start_at, contents, read, why);
    if (err != ERR_OK) {
        mem_free(copy);
        return err;
    }
    ASSERT(!read->is_torn); /* the file now ends with a whole record */
    contents->repaired = copy;
    return ERR_OK;
}

static FALLIBLE open_log(struct wal *wal, struct wal_position start_at,
                         struct wal_contents *contents, struct errbuf *why)
{
    struct wal__segments segments;
    struct wal__tail read;
    TRY(wal__list(wal->env->disk, wal->dir, &segments, why));
    enum err err = wal__select(&segments, wal->dir, start_at.index, why);
    if (err == ERR_OK) {
        err = lock_segments(wal, &segments, why);
    }
    if (err == ERR_OK) {
        err = read_repairing(wal, &segments, start_at, contents, &read, why);
    }
    if (err == ERR_OK) {
        const struct open_segment *last = &wal->segments[wal->segment_count - 1];
        wal->tail.file = last->file;
        wal->tail.segment = last->segment;
        wal->tail.offset = read.offset;
        wal->tail.crc = read.crc;
        wal->tail.last_index = read.last_index;
        wal->tail.state = contents->hard_state;
        buf_append_slice(&wal->metadata, buf_slice(&contents->metadata));
        err = settle(wal, why);
        if (err != ERR_OK) {
            wal_contents_fini(contents);
        }
    }
    wal__segments_fini(&segments);
    return err;
}

static void free_wal(struct wal *wal)
{
    for (size_t i = 0; i < wal->segment_count; i++) {
        file_close(&wal->segments[i].file);
    }
    file_close(&wal->spare);
    if (wal->preparing != NULL) {
        wal->preparing->wal = NULL;
    }
    mem_free(wal->segments);
    mem_free(wal->dir);
    buf_fini(&wal->metadata);
    buf_fini(&wal->tail.out);
    wal->magic = 0;
    mem_free(wal);
}

FALLIBLE wal_open(const struct wal_config *config, struct wal_position start_at, struct wal **out,
                  struct wal_contents *contents_out, struct errbuf *why)
{
    struct wal *wal = NEW(struct wal);
    struct wal_contents contents = {0};
    wal->magic = WAL_MAGIC;
    wal->env = config->env;
    wal->dir = mem_strdup(config->dir);
    wal->segment_bytes = config->segment_bytes == 0 ? WAL_SEGMENT_BYTES : config->segment_bytes;
    wal->unsafe_no_fsync = config->unsafe_no_fsync;
    wal->synced = config->synced;
    wal->space_changed = config->space_changed;
    wal->ctx = config->ctx;
    wal->loop = config->loop;
    timer_init(&wal->gathered, gathered);
    gather_init(&wal->gather);
    list_init(&wal->queue);
    list_init(&wal->job.writes);
    list_init(&wal->job.job.link);
    wal->job.job.run = run;
    wal->job.job.done = done;
    enum err err = open_log(wal, start_at, &contents, why);
    if (err != ERR_OK) {
        free_wal(wal);
        return err;
    }
    wal->executor = env_executor_new(wal->env, "wal", 1);
    wal_check(wal);
    *out = wal;
    *contents_out = contents;
    return ERR_OK;
}

void wal_close(struct wal **wal_at)
{
    struct wal *wal = *wal_at;
    if (wal == NULL) {
        return;
    }
    ASSERT(wal->magic == WAL_MAGIC);
    ASSERT(wal_is_idle(wal));
    executor_close(&wal->executor);
    if (wal->has_deferred && wal->tail.offset + RECORD_BYTES_SMALL <= wal->tail.room) {
        put_state(wal, &wal->deferred);
        flush(wal);
    }
    sync_tail(wal);
    free_wal(wal);
    *wal_at = NULL;
}

/* ---- observers --------------------------------------------------------------------------- */

void wal_stats(const struct wal *wal, struct wal_stats *out)
{
    *out = wal->stats;
}

size_t wal_segment_count(const struct wal *wal)
{
    return wal->segment_count;
}

bool wal_is_idle(const struct wal *wal)
{
    return !wal->is_running && list_empty(&wal->queue);
}

uint64_t wal__tail_offset(const struct wal *wal)
{
    ASSERT(wal_is_idle(wal));
    return wal->tail.offset;
}

void wal_check(const struct wal *wal)
{
    ASSERT(wal->magic == WAL_MAGIC);
    ASSERT(wal->segment_count > 0);
    for (size_t i = 1; i < wal->segment_count; i++) {
        const struct wal__segment *before = &wal->segments[i - 1].segment;
        ASSERT(wal->segments[i].segment.seq == before->seq + 1);
        ASSERT(wal->segments[i].segment.first >= before->first);
    }
    if (!wal->is_running) {
        ASSERT(wal->tail.offset <= wal->tail.room);
        ASSERT(list_empty(&wal->queue) || timer_running(&wal->gathered));
        ASSERT(list_empty(&wal->job.writes));
        ASSERT(wal->tail.file == wal->segments[wal->segment_count - 1].file);
        ASSERT(wal->tail.out.len == 0);
    }
}
