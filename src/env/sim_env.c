#include "env/sim.h"

#include "base/mem.h"

#define MONO_START NS_PER_SEC
#define WALL_START ((wall_ns)1600000000 * (wall_ns)NS_PER_SEC)

/* ---- randomness ------------------------------------------------------------------------- */

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

void sim_rng_init(struct sim_rng *rng, uint64_t seed)
{
    for (size_t i = 0; i < 4; i++) {
        rng->state[i] = splitmix(&seed);
    }
}

static uint64_t rotate_left(uint64_t value, unsigned count)
{
    return (value << count) | (value >> (64 - count));
}

/* Blackman and Vigna, "Scrambled linear pseudorandom number generators", xoshiro256**. */
uint64_t sim_rng_u64(struct sim_rng *rng)
{
    uint64_t *s = rng->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

/* The high bits of a product: the bias is below 2^-32 for the limits tests use. */
uint64_t sim_rng_below(struct sim_rng *rng, uint64_t limit)
{
    ASSERT(limit > 0);
    return (uint64_t)(((unsigned __int128)sim_rng_u64(rng) * limit) >> 64);
}

bool sim_rng_chance(struct sim_rng *rng, unsigned percent)
{
    return sim_rng_below(rng, 100) < percent;
}

/* ---- executors ---------------------------------------------------------------------------- */

/* All executors of a world share one queue, because jobs run in order of (due, sequence); an entry
 * says whose it is, so that closing one finds its own. */
struct sim_entry {
    struct heap_node node;
    mono_ns due;
    uint64_t sequence;
    struct job *job;
    struct sim_executor *executor;
};

struct sim_env {
    struct env env;
    mono_ns mono;
    wall_ns wall;
    struct sim_rng rng;
    struct heap queue; /* of sim_entry */
    uint64_t sequence;
    uint64_t job_delay;
    size_t executor_count;
    bool is_woken;
};

struct sim_executor {
    struct executor executor;
    struct sim_env *env;
    size_t queue_len;
    mono_ns last_due; /* of its jobs: a shorter delay does not overtake */
    bool is_closed;
    unsigned run_depth; /* freed when 0 and closed */
};

static struct sim_env *sim_of(struct env *env)
{
    return CONTAINER_OF(env, struct sim_env, env);
}

static bool entry_less(const struct heap_node *a, const struct heap_node *b)
{
    const struct sim_entry *left = (const struct sim_entry *)a;
    const struct sim_entry *right = (const struct sim_entry *)b;
    return left->due != right->due ? left->due < right->due : left->sequence < right->sequence;
}
_Static_assert(offsetof(struct sim_entry, node) == 0, "entry_less casts");

static void sim_submit(struct executor *base, struct job *job)
{
    struct sim_executor *executor = CONTAINER_OF(base, struct sim_executor, executor);
    struct sim_env *env = executor->env;
    ASSERT(!executor->is_closed);
    struct sim_entry *entry = NEW(struct sim_entry);
    mono_ns due = env->mono + env->job_delay;
    executor->last_due = due > executor->last_due ? due : executor->last_due;
    entry->due = executor->last_due;
    entry->sequence = ++env->sequence;
    entry->job = job;
    entry->executor = executor;
    executor->queue_len++;
    heap_push(&env->queue, &entry->node);
}

static void run_entry(struct sim_env *env, struct sim_entry *entry)
{
    struct sim_executor *executor = entry->executor;
    struct job *job = entry->job;
    heap_remove(&env->queue, &entry->node);
    mem_free(entry);
    executor->queue_len--;
    executor->run_depth++;
    job->run(job);
    job->done(job);
    executor->run_depth--;
    if (executor->is_closed && executor->run_depth == 0 && executor->queue_len == 0) {
        mem_free(executor);
    }
}

/* The first entry of `executor` in the order of running, or NULL. */
static struct sim_entry *first_of(struct sim_env *env, const struct sim_executor *executor)
{
    struct sim_entry *first = NULL;
    for (size_t i = 0; i < env->queue.count; i++) {
        struct sim_entry *entry = CONTAINER_OF(env->queue.nodes[i], struct sim_entry, node);
        if (entry->executor == executor &&
            (first == NULL || entry_less(&entry->node, &first->node))) {
            first = entry;
        }
    }
    return first;
}

static void sim_close(struct executor *base)
{
    struct sim_executor *executor = CONTAINER_OF(base, struct sim_executor, executor);
    struct sim_env *env = executor->env;
    ASSERT(!executor->is_closed);
    executor->is_closed = true;
    env->executor_count--;
    executor->run_depth++;
    while (executor->queue_len > 0) {
        run_entry(env, first_of(env, executor));
    }
    executor->run_depth--;
    if (executor->run_depth == 0) {
        mem_free(executor);
    }
}

static const struct executor_ops sim_executor_ops = {.submit = sim_submit, .close = sim_close};

static struct executor *sim_executor_new(struct env *base, const char *name, unsigned threads)
{
    struct sim_executor *executor = NEW(struct sim_executor);
    executor->executor.ops = &sim_executor_ops;
    executor->env = sim_of(base);
    executor->env->executor_count++;
    return &executor->executor;
}

/* ---- the world --------------------------------------------------------------------------- */

static mono_ns sim_now_mono(struct env *env)
{
    return sim_of(env)->mono;
}

static wall_ns sim_now_wall(struct env *env)
{
    return sim_of(env)->wall;
}

static void sim_random(struct env *env, void *out, size_t len)
{
    uint8_t *next = out;
    while (len > 0) {
        uint8_t bytes[8];
        size_t part = len < sizeof(bytes) ? len : sizeof(bytes);
        put_le64(bytes, sim_rng_u64(&sim_of(env)->rng));
        memcpy(next, bytes, part);
        next += part;
        len -= part;
    }
}

static mono_ns next_due(const struct sim_env *env)
{
    struct heap_node *node = heap_min(&env->queue);
    return node == NULL ? UINT64_MAX : CONTAINER_OF(node, struct sim_entry, node)->due;
}

/* Runs what is due now; what done() submits waits for the next poll. */
static void run_due(struct sim_env *env)
{
    uint64_t last = env->sequence;
    for (;;) {
        struct heap_node *node = heap_min(&env->queue);
        if (node == NULL) {
            return;
        }
        struct sim_entry *entry = CONTAINER_OF(node, struct sim_entry, node);
        if (entry->due > env->mono || entry->sequence > last) {
            return;
        }
        run_entry(env, entry);
    }
}

static void sim_poll(struct env *base, mono_ns until)
{
    struct sim_env *env = sim_of(base);
    mono_ns wake_at = next_due(env);
    if (env->is_woken || until <= env->mono) {
        wake_at = env->mono;
    } else if (until < wake_at) {
        wake_at = until;
    }
    env->is_woken = false;
    ASSERT(wake_at != UINT64_MAX); /* nothing will ever happen */
    if (wake_at > env->mono) {
        sim_env_advance(base, wake_at - env->mono);
    }
    env->env.woken_at = env->mono;
    run_due(env);
}

static void sim_wake(struct env *env)
{
    sim_of(env)->is_woken = true;
}

static const struct env_ops sim_env_ops = {
    .now_mono = sim_now_mono,
    .now_wall = sim_now_wall,
    .random = sim_random,
    .executor_new = sim_executor_new,
    .poll = sim_poll,
    .wake = sim_wake,
};

struct env *sim_env_new(uint64_t seed, struct disk *disk)
{
    struct sim_env *env = NEW(struct sim_env);
    env->env.ops = &sim_env_ops;
    env->env.disk = disk;
    env->mono = MONO_START;
    env->wall = WALL_START;
    env->env.woken_at = env->mono;
    sim_rng_init(&env->rng, seed);
    heap_init(&env->queue, entry_less);
    env->env.pool = sim_executor_new(&env->env, "pool", 1);
    return &env->env;
}

void sim_env_free(struct env **base)
{
    if (*base == NULL) {
        return;
    }
    struct sim_env *env = sim_of(*base);
    *base = NULL;
    executor_close(&env->env.pool);
    ASSERT(env->executor_count == 0);
    ASSERT(env->queue.count == 0);
    heap_fini(&env->queue);
    mem_free(env);
}

void sim_env_advance(struct env *env, uint64_t ns)
{
    sim_of(env)->mono += ns;
    sim_of(env)->wall += (int64_t)ns;
}

void sim_env_jump_wall(struct env *env, int64_t ns)
{
    sim_of(env)->wall += ns;
}

void sim_env_delay_jobs(struct env *env, uint64_t ns)
{
    sim_of(env)->job_delay = ns;
}
