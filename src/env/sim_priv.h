/* The simulated disk from inside: sim_image.c (bytes), sim_state.c (what is there and what is
 * durable), sim_disk.c (operations), sim_crash.c (what survives). */
#ifndef ENV_SIM_PRIV_H
#define ENV_SIM_PRIV_H

#include "env/sim.h"

/* ---- images: the bytes of a file, in shared pages ---------------------------------------- */

#define SIM_PAGE ((uint64_t)4096)
#define SIM_SECTOR ((uint64_t)512)
#define SIM_FILE_MAX ((uint64_t)1 << 32) /* a larger offset is a test's mistake: ERR_IO */

/* A page is shared by all images that hold the same bytes, and copied before a write. NULL reads
 * as zero, and so does everything behind `size` in the last page. */
struct sim_page;
struct sim_image {
    struct sim_page **pages;
    size_t page_count; /* allocated slots */
    uint64_t size;     /* bytes */
};

void sim_image_fini(struct sim_image *image);
void sim_image_copy(struct sim_image *target, const struct sim_image *source);
/* Reads [offset, offset + len), all of it inside size. */
void sim_image_read(const struct sim_image *image, void *out, size_t len, uint64_t offset);
/* Grows the image as needed. */
void sim_image_write(struct sim_image *image, const void *data, size_t len, uint64_t offset);
void sim_image_resize(struct sim_image *image, uint64_t size);
bool sim_image_eq(const struct sim_image *a, const struct sim_image *b);

/* ---- the disk ---------------------------------------------------------------------------- */

#define SIM_ROOT 1u /* the inode of "/"; 0 is none */
#define SIM_FAULTS_MAX 8

/* One change to a file's bytes since its last sync. */
struct sim_change {
    uint64_t seq;  /* of the disk: order among all pending operations */
    bool is_write; /* else a new size */
    uint64_t offset;
    uint64_t len;  /* of data, or the new size */
    uint64_t from; /* size before */
    uint8_t *data; /* owned */
};

struct sim_entry_name {
    char *name; /* owned */
    uint32_t inode;
};
/* A directory's names, in byte order. */
struct sim_names {
    struct sim_entry_name *entries;
    size_t count;
    size_t cap;
};
uint32_t sim_names_find(const struct sim_names *names, const char *name);      /* 0: not there */
void sim_names_set(struct sim_names *names, const char *name, uint32_t inode); /* 0 removes */
void sim_names_fini(struct sim_names *names);
void sim_names_copy(struct sim_names *target, const struct sim_names *source);

struct sim_inode {
    bool is_dir;
    uint32_t mode;
    unsigned open_count;
    /* Files. */
    struct sim_image now;
    struct sim_image durable;
    struct sim_change *changes; /* pending, in order */
    size_t change_count;
    size_t change_cap;
    bool has_dropped; /* after a failed sync, say: now is not durable + changes */
    unsigned flock_shared;
    bool flock_exclusive;
    bool ofd_exclusive;
    /* Directories. */
    struct sim_names names;
    struct sim_names names_durable;
};

/* One edit of a directory: the name gets an inode, or loses it (0). */
struct sim_edit {
    uint32_t dir;
    uint32_t inode;
    char *name; /* owned */
};
/* A name operation not yet durable: its edits happen together. */
struct sim_name_op {
    uint64_t seq;
    unsigned edit_count; /* 1, or 2 for a rename */
    struct sim_edit edits[2];
};

struct sim_fault {
    unsigned ops;
    char *part; /* owned; NULL: any path */
    uint64_t nth;
    uint64_t count;
    enum err err;
};

/* Invariants, see sim_disk_check():
 * 1. A file's `now` is its `durable` with `changes` done to it, unless has_dropped.
 * 2. All directories' `names` are their `names_durable` with `name_ops` done to them.
 * 3. Every inode that a name, durable or not, or a pending edit refers to is there.
 * 4. Sequence numbers grow in `changes` and in `name_ops`. */
struct sim_disk {
    struct disk disk;
    struct sim_inode **inodes; /* by number; NULL where free */
    uint32_t inode_count;
    struct sim_name_op *name_ops;
    size_t name_op_count;
    size_t name_op_cap;
    uint64_t seq;
    uint64_t epoch; /* crashes so far: handles of an older one are dead */
    size_t open_count;
    uint64_t op_count;
    uint64_t crash_at;
    bool is_down;
    uint64_t capacity;
    uint64_t used;
    struct sim_fault faults[SIM_FAULTS_MAX];
    size_t fault_count;
    sim_op_fn *on_op;
    void *on_op_ctx;
};

static inline struct sim_disk *sim_disk_of(const struct disk *disk)
{
    return CONTAINER_OF((struct disk *)(uintptr_t)disk, struct sim_disk, disk);
}

extern const struct disk_ops sim_disk_ops;

void sim__change_apply(struct sim_image *image, const struct sim_change *change);
void sim__changes_clear(struct sim_inode *inode);
void sim__name_op_apply(struct sim_disk *disk, const struct sim_name_op *op, bool durable);
void sim__name_op_fini(struct sim_name_op *op);
bool sim__same_name(const struct sim_name_op *a, const struct sim_name_op *b);
/* Makes the chosen operations durable, in order, and forgets them; the others stay pending. */
void sim__settle_names(struct sim_disk *disk, const bool *chosen);
/* Makes the names of a directory durable, and what they depend on. */
void sim__sync_names(struct sim_disk *disk, uint32_t dir);
/* Frees inodes that nothing refers to. */
void sim__collect(struct sim_disk *disk);
struct sim_inode *sim__inode_new(struct sim_disk *disk, bool is_dir, uint32_t mode,
                                 uint32_t *number_out);
void sim__inode_free(struct sim_inode **inode);

#endif
