/*
 * Posts to libuv: a queue of closures under a lock, and a uv_async_t that wakes the loop. See src/posts.rs for the
 * method.
 *
 * uv_async_send tells that there is something, not how much, so a program brings its own queue; this is the one
 * that libuv's users write: an allocated node each, the whole list taken at a time.
 */
#include "common.h"
#include <uv.h>

struct job {
    struct job *next;
    void (*run)(long number);
    long number;
};

static uv_mutex_t lock;
static uv_async_t async;
static struct job *first, **end = &first;
static long posts = 1000000, seen;

static void run_one(long number)
{
    if (seen != number)
        die("a post out of order");
    seen++;
}

static void post(void *unused)
{
    (void)unused;
    for (long i = 0; i < posts; i++) {
        struct job *job = malloc(sizeof *job);
        if (job == NULL)
            die("memory for a post");
        *job = (struct job){ .next = NULL, .run = run_one, .number = i };
        uv_mutex_lock(&lock);
        *end = job;
        end = &job->next;
        uv_mutex_unlock(&lock);
        uv_async_send(&async);
    }
}

static void on_async(uv_async_t *unused)
{
    (void)unused;
    uv_mutex_lock(&lock);
    struct job *job = first;
    first = NULL;
    end = &first;
    uv_mutex_unlock(&lock);
    while (job != NULL) {
        struct job *next = job->next;
        job->run(job->number);
        free(job);
        job = next;
    }
    if (seen == posts)
        uv_stop(async.loop);
}

static double processor_time_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(int argc, char **argv)
{
    version_flag(argc, argv, uv_version_string());
    if (argc == 3 && strcmp(argv[1], "--posts") == 0)
        posts = ring_number(argv[1], argv[2]);
    else if (argc != 1) {
        fprintf(stderr, "error: %s: this program takes --posts N and nothing else\n", argv[1]);
        exit(2);
    }
    uv_mutex_init(&lock);
    uv_async_init(uv_default_loop(), &async, on_async);
    double spent = processor_time_ns(), start = now_ns();
    uv_thread_t poster;
    if (uv_thread_create(&poster, post, NULL) != 0)
        die("uv_thread_create");
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    printf("per_second=%.0f ns_per_post=%.2f\n", posts / ((now_ns() - start) / 1e9),
           (processor_time_ns() - spent) / posts);
    uv_thread_join(&poster);
    return 0;
}
