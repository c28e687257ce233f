#include "storage/manual_env.h"

#include "env/posix.h"

static struct manual_env *manual_of(struct env *env)
{
    return CONTAINER_OF(env, struct manual_env, env);
}

static mono_ns manual_now_mono(struct env *env)
{
    return manual_of(env)->now;
}

static wall_ns manual_now_wall(struct env *env)
{
    return (wall_ns)manual_of(env)->now;
}

static void manual_random(struct env *env, void *out, size_t len)
{
    UNUSED(env);
    memset(out, 0x5a, len);
}

static struct executor *manual_executor_new(struct env *env, const char *name, unsigned threads)
{
    UNUSED(name);
    ASSERT(threads == 1);
    return &manual_of(env)->executor;
}

static void manual_submit(struct executor *executor, struct job *job)
{
    struct manual_env *manual = CONTAINER_OF(executor, struct manual_env, executor);
    list_init(&job->link);
    list_add_tail(&manual->submitted, &job->link);
}

static void manual_close(struct executor *executor)
{
    manual_settle(CONTAINER_OF(executor, struct manual_env, executor));
}

void manual_env_init(struct manual_env *manual, struct disk *disk)
{
    static const struct env_ops env_ops = {
        .now_mono = manual_now_mono,
        .now_wall = manual_now_wall,
        .random = manual_random,
        .executor_new = manual_executor_new,
    };
    static const struct executor_ops executor_ops = {
        .submit = manual_submit,
        .close = manual_close,
    };
    *manual = (struct manual_env){
        .env = {.ops = &env_ops, .disk = disk == NULL ? posix_disk() : disk},
        .executor = {.ops = &executor_ops},
        .now = 1,
    };
    list_init(&manual->submitted);
    list_init(&manual->ran);
}

bool manual_run(struct manual_env *manual)
{
    struct list *node = list_pop(&manual->submitted);
    if (node == NULL) {
        return false;
    }
    struct job *job = CONTAINER_OF(node, struct job, link);
    job->run(job);
    list_add_tail(&manual->ran, &job->link);
    return true;
}

bool manual_finish(struct manual_env *manual)
{
    struct list *node = list_pop(&manual->ran);
    if (node == NULL) {
        return false;
    }
    struct job *job = CONTAINER_OF(node, struct job, link);
    job->done(job);
    return true;
}

void manual_settle(struct manual_env *manual)
{
    while (manual_run(manual) || manual_finish(manual)) {
    }
}
