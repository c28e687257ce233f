/* The world, as small interfaces: clocks, randomness, disks, threads and sockets.
 *
 * Everything above this floor sees the outside only through one `struct env`. env/posix makes
 * the real one; sim/ makes worlds whose disks tear and whose clocks skew. The same inputs from an
 * env give the same outputs, bit for bit.
 *
 * Threads: `struct env` belongs to the loop thread: the one that called loop_run(), or one that
 * stands in for it while it works inside of a poll; never two at a time. Disk calls may be made
 * from jobs on executors too, as long as no two threads use one `struct file` at a time, except
 * file_pread() on a file that nobody truncates. */
#ifndef ENV_ENV_H
#define ENV_ENV_H

#include "base/bytes.h"
#include "base/coll.h"

typedef uint64_t mono_ns; /* monotonic nanoseconds since an arbitrary start */
typedef int64_t wall_ns;  /* nanoseconds since 1970-01-01T00:00:00Z */

#define NS_PER_US ((uint64_t)1000)
#define NS_PER_MS ((uint64_t)1000000)
#define NS_PER_SEC ((uint64_t)1000000000)

/* ---- disk ------------------------------------------------------------------------------ */

enum file_flags {
    FILE_READ = 1 << 0,
    FILE_WRITE = 1 << 1,
    FILE_CREATE = 1 << 2,    /* make it, mode 0600, when it is not there */
    FILE_EXCLUSIVE = 1 << 3, /* with FILE_CREATE: ERR_EXISTS when it is there */
    FILE_TRUNCATE = 1 << 4,
};

enum file_lock {
    FILE_LOCK_FLOCK_EXCLUSIVE, /* flock(LOCK_EX), as bbolt */
    FILE_LOCK_FLOCK_SHARED,    /* flock(LOCK_SH), as bbolt read-only */
    FILE_LOCK_OFD_EXCLUSIVE,   /* F_OFD_SETLK write lock on the whole file, as etcd's WAL */
};

struct file_info {
    uint64_t size; /* bytes */
    uint32_t mode; /* permission bits, e.g. 0700 */
    bool is_dir;
};

struct disk;
struct file;

/* Every call may fail with ERR_IO, ERR_NOSPACE, ERR_NOT_FOUND, ERR_EXISTS, ERR_PERM, and then
 * leaves a sentence naming the path in *why (which may be NULL). Nothing is retried inside but
 * EINTR and short transfers. */
struct disk_ops {
    enum err (*open)(struct disk *disk, const char *path, unsigned flags, struct file **out,
                     struct errbuf *why);
    enum err (*rename)(struct disk *disk, const char *from, const char *to, struct errbuf *why);
    enum err (*unlink)(struct disk *disk, const char *path, struct errbuf *why);
    enum err (*mkdir)(struct disk *disk, const char *path, uint32_t mode, struct errbuf *why);
    enum err (*rmdir)(struct disk *disk, const char *path, struct errbuf *why);
    enum err (*sync_dir)(struct disk *disk, const char *path, struct errbuf *why);
    /* Calls `each` once a name, in byte order, without "." and "..". */
    enum err (*list)(struct disk *disk, const char *path, void (*each)(const char *name, void *ctx),
                     void *ctx, struct errbuf *why);
    enum err (*stat)(struct disk *disk, const char *path, struct file_info *out,
                     struct errbuf *why);
    enum err (*chmod)(struct disk *disk, const char *path, uint32_t mode, struct errbuf *why);

    /* Reads up to len bytes; *n_out < len only at the end of the file. */
    enum err (*pread)(struct file *file, void *data, size_t len, uint64_t offset, size_t *n_out,
                      struct errbuf *why);
    enum err (*pwrite)(struct file *file, const void *data, size_t len, uint64_t offset,
                       struct errbuf *why);
    /* Makes [0, len) allocated and reading as zero where nothing was written. */
    enum err (*preallocate)(struct file *file, uint64_t len, struct errbuf *why);
    /* The first byte at or behind `from` that may be other than zero; the size when there is none.
     * NULL, or the answer `from`, where the file system does not know. */
    enum err (*next_data)(struct file *file, uint64_t from, uint64_t *out, struct errbuf *why);
    enum err (*truncate)(struct file *file, uint64_t len, struct errbuf *why);
    /* A sync never says ERR_NOSPACE: what it could not write is gone, so nobody may try again. */
    enum err (*sync)(struct file *file, struct errbuf *why);      /* fsync: data and metadata */
    enum err (*sync_data)(struct file *file, struct errbuf *why); /* fdatasync */
    enum err (*size)(struct file *file, uint64_t *out, struct errbuf *why);
    /* Does not wait: ERR_LOCKED when another holds it. Released by close. */
    enum err (*lock)(struct file *file, enum file_lock kind, struct errbuf *why);
    /* Maps [0, len) read-only and shared; len may reach past the end of the file (touching that is
     * an error of the caller's). ERR_UNSUPPORTED where there is no mapping (the simulator):
     * use pread. */
    enum err (*map)(struct file *file, uint64_t len, const uint8_t **out, struct errbuf *why);
    void (*unmap)(struct file *file, const uint8_t *base, uint64_t len);
    /* Takes the pages of a mapping out of the process's resident memory. They stay in the page
     * cache, and come back when they are touched; other threads may read them meanwhile. */
    void (*map_forget)(struct file *file, const uint8_t *base, uint64_t len);
    void (*close)(struct file *file);
};

struct disk {
    const struct disk_ops *ops;
};
struct file {
    struct disk *disk;
    char *path; /* as opened or last renamed by its owner: for sentences */
};

FALLIBLE disk_open(struct disk *disk, const char *path, unsigned flags, struct file **out,
                   struct errbuf *why);
FALLIBLE disk_rename(struct disk *disk, const char *from, const char *to, struct errbuf *why);
FALLIBLE disk_unlink(struct disk *disk, const char *path, struct errbuf *why);
FALLIBLE disk_mkdir(struct disk *disk, const char *path, uint32_t mode, struct errbuf *why);
/* Makes the missing parents too; not an error when it is there. */
FALLIBLE disk_mkdir_all(struct disk *disk, const char *path, uint32_t mode, struct errbuf *why);
FALLIBLE disk_rmdir(struct disk *disk, const char *path, struct errbuf *why);
FALLIBLE disk_sync_dir(struct disk *disk, const char *path, struct errbuf *why);
FALLIBLE disk_list(struct disk *disk, const char *path, void (*each)(const char *name, void *ctx),
                   void *ctx, struct errbuf *why);
FALLIBLE disk_stat(struct disk *disk, const char *path, struct file_info *out, struct errbuf *why);
bool disk_exists(struct disk *disk, const char *path);
FALLIBLE disk_chmod(struct disk *disk, const char *path, uint32_t mode, struct errbuf *why);
/* Whole small files. disk_read_file: ERR_TOO_LARGE over `limit` bytes. */
FALLIBLE disk_read_file(struct disk *disk, const char *path, size_t limit, struct buf *out,
                        struct errbuf *why);
/* Writes and syncs `path`, not its directory. */
FALLIBLE disk_write_file(struct disk *disk, const char *path, struct slice data,
                         struct errbuf *why);

FALLIBLE file_pread(struct file *file, void *data, size_t len, uint64_t offset, size_t *n_out,
                    struct errbuf *why);
/* ERR_EOF when fewer than len bytes are there. */
FALLIBLE file_pread_all(struct file *file, void *data, size_t len, uint64_t offset,
                        struct errbuf *why);
FALLIBLE file_pwrite(struct file *file, const void *data, size_t len, uint64_t offset,
                     struct errbuf *why);
FALLIBLE file_preallocate(struct file *file, uint64_t len, struct errbuf *why);
FALLIBLE file_next_data(struct file *file, uint64_t from, uint64_t *out, struct errbuf *why);
FALLIBLE file_truncate(struct file *file, uint64_t len, struct errbuf *why);
FALLIBLE file_sync(struct file *file, struct errbuf *why);
FALLIBLE file_sync_data(struct file *file, struct errbuf *why);
FALLIBLE file_size(struct file *file, uint64_t *out, struct errbuf *why);
FALLIBLE file_lock(struct file *file, enum file_lock kind, struct errbuf *why);
FALLIBLE file_map(struct file *file, uint64_t len, const uint8_t **out, struct errbuf *why);
void file_unmap(struct file *file, const uint8_t *base, uint64_t len);
void file_map_forget(struct file *file, const uint8_t *base, uint64_t len);
void file_close(struct file **file); /* NULLs; safe on NULL */

/* ---- threads --------------------------------------------------------------------------- */

/* Work off the loop. Embed the job; from submit until done() it belongs to the executor.
 * run() is called on a thread of the executor, or inside of a later poll while another thread has
 * the loop; done() later on the loop thread. */
struct job;
typedef void job_fn(struct job *job);
struct job {
    struct list link; /* the executor's */
    job_fn *run;      /* never NULL */
    job_fn *done;     /* never NULL */
};

/* An executor runs jobs in the order of submission: a serial one (one thread) also completes
 * them in that order; a pool (several threads) does not. done() is never called from inside
 * executor_submit(). */
struct executor;
struct executor_ops {
    void (*submit)(struct executor *executor, struct job *job);
    void (*close)(struct executor *executor);
};
struct executor {
    const struct executor_ops *ops;
};
void executor_submit(struct executor *executor, struct job *job); /* loop thread */
/* Runs what was submitted, calls every done(), then frees; NULLs; safe on NULL. Loop thread; a
 * done() may close its own executor. No done() may submit to an executor that is closing. */
void executor_close(struct executor **executor);

/* ---- sockets ---------------------------------------------------------------------------- */

/* Non-blocking stream sockets on the loop. Handlers run on the loop thread during the poll. After
 * sock_close() no handler of that socket runs again. readable() comes again for as long as there
 * is something left to read (bytes, the end or a reset). A reset is not noticed while neither
 * reading nor writing is wanted. */
struct sock;
struct sock_handler {
    void (*readable)(struct sock *sock, void *ctx);
    void (*writable)(struct sock *sock, void *ctx); /* only while sock_want_write(true) */
};

struct sock_addr {
    char text[160]; /* "127.0.0.1:2379", "[::1]:2379" or a unix socket's path */
};

struct iov {
    const void *data;
    size_t len;
};

struct listen_options {
    bool reuse_port;
    bool reuse_address; /* SO_REUSEADDR is on in any case, as in every Go listener */
    int backlog;        /* 0: the system's maximum */
};

struct listener;
/* A new connection. The callee owns the socket and must set its handler or close it. */
typedef void accept_fn(struct sock *sock, const struct sock_addr *peer, void *ctx);
/* The result of net_connect: exactly once; sock is NULL on failure, with the sentence in why. */
typedef void connect_fn(struct sock *sock, const struct errbuf *why, void *ctx);

struct net;
struct dial; /* a connection being made */
struct net_ops {
    enum err (*listen)(struct net *net, const char *host, const char *port,
                       const struct listen_options *options, accept_fn *accept, void *ctx,
                       struct listener **out, struct errbuf *why);
    void (*listener_close)(struct listener *listener);
    void (*listener_pause)(struct listener *listener, bool paused);
    void (*listener_addr)(const struct listener *listener, struct sock_addr *out);
    struct dial *(*connect)(struct net *net, const char *host, const char *port, connect_fn *fn,
                            void *ctx);
    void (*connect_cancel)(struct dial *dial);
    void (*set_handler)(struct sock *sock, const struct sock_handler *handler, void *ctx);
    enum err (*read)(struct sock *sock, void *data, size_t len, size_t *n_out);
    enum err (*writev)(struct sock *sock, const struct iov *iov, size_t count, size_t *n_out);
    void (*want_read)(struct sock *sock, bool wanted);
    void (*want_write)(struct sock *sock, bool wanted);
    void (*shutdown)(struct sock *sock);
    void (*close)(struct sock *sock);
};
struct net {
    const struct net_ops *ops;
};
struct sock {
    struct net *net;
};
struct listener {
    struct net *net;
};
struct dial {
    struct net *net;
};

/* host: an IP, "localhost" or "" (every address), or with port "unix" a path, where a socket left
 * by another run is removed first. Port "0" lets the system choose. Sentences are Go's: "listen
 * tcp 127.0.0.1:2379: bind: address already in use".
 *
 * ERR_EXISTS   the address is in use
 * ERR_PERM     not allowed to bind it
 * ERR_INVALID  no such host or port */
FALLIBLE net_listen(struct net *net, const char *host, const char *port,
                    const struct listen_options *options, accept_fn *accept, void *ctx,
                    struct listener **out, struct errbuf *why);
void listener_close(struct listener **listener);
/* Stops and resumes accepting: back-pressure when descriptors run short. */
void listener_pause(struct listener *listener, bool paused);
/* What it is bound to, with the port the system chose. */
void listener_addr(const struct listener *listener, struct sock_addr *out);
/* Names are resolved on the pool; each address is tried in turn. fn is called later, never from
 * inside. The result is for net_connect_cancel() and dies when fn is called; there is no deadline
 * but the system's, so whoever has one keeps it and cancels. */
struct dial *net_connect(struct net *net, const char *host, const char *port, connect_fn *fn,
                         void *ctx);
/* fn will not be called. NULLs; safe on NULL. */
void net_connect_cancel(struct dial **dial);
void sock_set_handler(struct sock *sock, const struct sock_handler *handler, void *ctx);
/* ERR_AGAIN: nothing there now. ERR_EOF: the peer has finished. ERR_CLOSED: reset. */
FALLIBLE sock_read(struct sock *sock, void *data, size_t len, size_t *n_out);
/* Writes what fits, which may be less. ERR_AGAIN: nothing fits. ERR_CLOSED: reset. */
FALLIBLE sock_writev(struct sock *sock, const struct iov *iov, size_t count, size_t *n_out);
void sock_want_read(struct sock *sock, bool wanted);  /* on at birth */
void sock_want_write(struct sock *sock, bool wanted); /* off at birth */
void sock_shutdown(struct sock *sock);                /* no more writes: FIN */
void sock_close(struct sock **sock);

/* ---- the world --------------------------------------------------------------------------- */

struct env;
struct env_ops {
    mono_ns (*now_mono)(struct env *env);
    wall_ns (*now_wall)(struct env *env);
    void (*random)(struct env *env, void *out, size_t len);
    /* threads == 1: serial. */
    struct executor *(*executor_new)(struct env *env, const char *name, unsigned threads);
    /* Waits for events until `until` (0: do not wait; UINT64_MAX: forever), runs their handlers. */
    void (*poll)(struct env *env, mono_ns until);
    /* Makes a poll() in progress return; from any thread. */
    void (*wake)(struct env *env);
};
struct env {
    const struct env_ops *ops;
    struct disk *disk;
    struct net *net;       /* NULL where there are no sockets */
    struct executor *pool; /* shared helpers: DNS, bcrypt, file deletion; may be NULL in tests */
    mono_ns woken_at;      /* when the last poll() stopped waiting and began to run handlers */
    /* Turns the loop once, waiting for events; false: it has been told to stop. A poll() that does
     * work of its own lets another thread call it meanwhile, so it may come from inside of poll(),
     * and before the poll returns it has ended. NULL: nobody minds the loop for its thread. */
    bool (*turn)(void *ctx);
    void *turn_ctx;
};

mono_ns env_now_mono(struct env *env); /* reads the clock: the loop has a cached one */
wall_ns env_now_wall(struct env *env);
void env_random(struct env *env, void *out, size_t len);
uint64_t env_random_u64(struct env *env);
struct executor *env_executor_new(struct env *env, const char *name, unsigned threads);
void env_poll(struct env *env, mono_ns until); /* the loop's business */
void env_wake(struct env *env);                /* any thread */

#endif
