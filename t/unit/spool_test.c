/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Files that wait, between threads and processes, by a wall clock that the test moves. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <httpd.h>
#include <unixd.h>

#include "vapi_spool.h"

#define SEC apr_time_from_sec(1)

unixd_config_rec ap_unixd_config;

static apr_time_t now;
static apr_pool_t *pool;
static char root[] = "/tmp/vapi-spool-XXXXXX";
static const char *dir;
static vapi_spool_t *spool;

apr_time_t apr_time_now(void)
{
    return now;
}

/* ---- what each test begins and ends with ---- */

static vapi_spool_t *make_spool(int sync)
{
    vapi_spool_t *made = NULL;

    assert_null(vapi_spool_configure(&made, dir, sync, pool));
    return made;
}

static int set_up(void **unused)
{
    (void)unused;
    now = apr_time_from_sec(1790000000) + 123456;
    apr_pool_create(&pool, NULL);
    dir = apr_pstrcat(pool, root, "/spool", NULL);
    spool = make_spool(0);
    return vapi_spool_open(spool, pool) != APR_SUCCESS;
}

static int tear_down(void **unused)
{
    int rc = system(apr_pstrcat(pool, "rm -rf ", dir, NULL));

    (void)unused;
    apr_pool_destroy(pool);
    return rc;
}

/* ---- what a walk saw ---- */

typedef enum { DELIVER = 0, WAIT, FAIL, GIVE_UP } ending;

typedef struct seen_t {
    char text[4096];               /* contents, each with a blank behind it */
    int n, stop_after;             /* 0: never */
    ending how;
    apr_interval_time_t pause;
    int failures;                  /* of the last one */
    apr_status_t rv;               /* likewise, of how it ended */
} seen_t;

static int see(void *baton, vapi_spooled_t *file, const char *content, apr_size_t len)
{
    seen_t *seen = baton;

    assert_int_equal(strlen(content), len);
    if (strlen(seen->text) + len + 2 < sizeof(seen->text)) {
        strcat(seen->text, content);
        strcat(seen->text, " ");
    }
    seen->failures = vapi_spool_failures(file);
    if (seen->how == DELIVER) {
        seen->rv = vapi_spool_done(file);
    }
    else if (seen->how == GIVE_UP) {
        seen->rv = vapi_spool_set_aside(file);
    }
    else {
        seen->pause = vapi_spool_later(file, seen->how == FAIL);
    }
    return ++seen->n != seen->stop_after;
}

static seen_t walk(ending how)
{
    seen_t seen = { .how = how };

    assert_int_equal(vapi_spool_walk(spool, see, &seen, pool), APR_SUCCESS);
    return seen;
}

static void put(const char *content)
{
    vapi_spooled_t *file;

    assert_int_equal(vapi_spool_put(spool, content, strlen(content), &file), APR_SUCCESS);
    assert_int_equal(vapi_spool_later(file, 0), SEC);
}

static void assert_counts(int waiting, int aside)
{
    int w, a;

    assert_int_equal(vapi_spool_count(spool, &w, &a), APR_SUCCESS);
    assert_int_equal(w, waiting);
    assert_int_equal(a, aside);
}

static const char *path_of(const char *name)
{
    return apr_pstrcat(pool, dir, "/", name, NULL);
}

static void make_file(const char *name, const char *content, apr_time_t changed)
{
    struct timespec times[2] = { { 0, UTIME_OMIT }, { apr_time_sec(changed), 0 } };
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_EXCL, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
}

static const char *name_at(apr_time_t taken)
{
    return apr_psprintf(pool, "%016" APR_UINT64_T_HEX_FMT "-00000000000000ab", (apr_uint64_t)taken);
}

/* ---- one file ---- */

static void assert_on_disk(const vapi_spooled_t *file, const char *content)
{
    const char *name = vapi_spool_name(file);
    char found[64] = "";
    struct stat st;
    FILE *f;

    assert_int_equal(stat(path_of(name), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(strlen(name), 33);
    assert_int_equal(apr_strtoi64(name, NULL, 16), now);
    assert_non_null(f = fopen(path_of(name), "r"));
    assert_non_null(fgets(found, sizeof(found), f));
    fclose(f);
    assert_string_equal(found, content);
}

static void test_one(void **unused)
{
    vapi_spooled_t *file;
    seen_t seen;
    int sync;

    (void)unused;
    for (sync = 0; sync < 2; sync++) {
        apr_pool_t *p;

        apr_pool_create(&p, pool);
        spool = make_spool(sync);
        assert_int_equal(vapi_spool_is_sync(spool), sync);
        assert_int_equal(vapi_spool_open(spool, p), APR_SUCCESS);
        assert_int_equal(vapi_spool_put(spool, "{\"a\":1}", 7, &file), APR_SUCCESS);
        assert_on_disk(file, "{\"a\":1}");
        assert_counts(1, 0);
        now += 100 * SEC;
        assert_int_equal(vapi_spool_age(file), 100 * SEC);
        assert_int_equal(walk(DELIVER).n, 0);                    /* held here */
        assert_int_equal(vapi_spool_done(file), APR_SUCCESS);
        assert_counts(0, 0);
        put("{}");
        assert_int_equal(walk(DELIVER).n, 0);                    /* not due */
        now += SEC;
        seen = walk(DELIVER);
        assert_string_equal(seen.text, "{} ");
        assert_int_equal(seen.rv, APR_SUCCESS);
        assert_counts(0, 0);
        apr_pool_destroy(p);
    }
}

static void test_pauses(void **unused)
{
    static const struct {
        int age, pause;
    } cases[] = { { 1, 1 }, { 2, 2 }, { 4, 4 }, { 8, 8 }, { 100, 100 }, { 900, 900 }, { 1801, 900 }, { 86400, 900 } };
    apr_time_t taken = now;
    seen_t seen;
    size_t i;

    (void)unused;
    put("x");
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        now = taken + cases[i].age * SEC;
        seen = walk(FAIL);
        assert_string_equal(seen.text, "x ");
        assert_int_equal(seen.failures, i);
        assert_int_equal(seen.pause, cases[i].pause * SEC);
        now += seen.pause - 1;
        assert_int_equal(walk(DELIVER).n, 0);
    }
    now += 1;
    assert_int_equal(walk(WAIT).failures, i);
    now += 900 * SEC;
    assert_int_equal(walk(WAIT).failures, i);               /* one that was not tried did not fail */
    now = taken - 3600 * SEC;                                /* the clock is set back: what is due in an hour is due now */
    seen = walk(WAIT);
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.pause, SEC);
    now += SEC;
    assert_int_equal(walk(DELIVER).n, 1);
}

static void test_ends(void **unused)
{
    vapi_spooled_t *file;
    const char *name;

    (void)unused;
    put("a");
    now += SEC;
    put("b");
    now += SEC;
    assert_string_equal(walk(GIVE_UP).text, "a b ");
    assert_counts(0, 2);
    assert_int_equal(vapi_spool_put(spool, "c", 1, &file), APR_SUCCESS);
    name = apr_pstrdup(pool, vapi_spool_name(file));
    assert_int_equal(vapi_spool_set_aside(file), APR_SUCCESS);
    /* the administrator moves it back */
    assert_int_equal(rename(path_of(apr_pstrcat(pool, "set-aside/", name, NULL)), path_of(name)), 0);
    now += 3 * SEC;
    assert_string_equal(walk(DELIVER).text, "c ");
    assert_int_equal(vapi_spool_put(spool, "d", 1, &file), APR_SUCCESS);
    unlink(path_of(vapi_spool_name(file)));
    assert_int_equal(vapi_spool_done(file), APR_SUCCESS);
}

/* What cannot be put where it belongs is not hammered at. */
static void test_no_end(void **unused)
{
    seen_t seen;

    (void)unused;
    put("a");
    now += 5 * SEC;
    assert_int_equal(system(apr_psprintf(pool, "rm -r %s/set-aside", dir)), 0);
    seen = walk(GIVE_UP);
    assert_int_equal(seen.rv, ENOENT);
    assert_int_equal(walk(DELIVER).n, 0);
    now += 5 * SEC;
    assert_int_equal(walk(DELIVER).failures, 1);
}

static void test_order(void **unused)
{
    seen_t seen = { .how = WAIT, .stop_after = 2 };
    int i;

    (void)unused;
    now += 10 * SEC;
    for (i = 5; i > 0; i--) {    /* the oldest last */
        now -= SEC;
        put(apr_itoa(pool, i));
    }
    now += 10 * SEC;
    assert_int_equal(vapi_spool_walk(spool, see, &seen, pool), APR_SUCCESS);
    assert_string_equal(seen.text, "1 2 ");
    assert_string_equal(walk(DELIVER).text, "3 4 5 ");
    assert_counts(2, 0);
}

/* ---- what else may lie there ---- */

static void test_strangers(void **unused)
{
    apr_time_t old = now - 5000 * SEC;
    seen_t seen = { .how = DELIVER };
    const char *half = apr_pstrcat(pool, ".new-", name_at(now), NULL), *left = apr_pstrcat(pool, ".new-", name_at(old), NULL);

    (void)unused;
    make_file(half, "{\"half", now - 60 * SEC);
    make_file(left, "{\"half", old);
    make_file("README", "x", old);
    make_file(apr_pstrcat(pool, name_at(old), "~", NULL), "x", old);
    make_file("00000000000000A0-00000000000000ab", "x", old);
    make_file(name_at(old), "whole\n\n\n", old);
    make_file(name_at(old + 1), "", old);
    seen = walk(WAIT);
    assert_string_equal(seen.text, "whole  ");
    assert_int_equal(access(path_of(half), F_OK), 0);
    assert_int_not_equal(access(path_of(left), F_OK), 0);
    assert_counts(2, 0);
    now += 900 * SEC;
    assert_int_equal(symlink("/etc/passwd", path_of(name_at(old - 1))), 0);
    assert_int_equal(mkdir(path_of(name_at(old - 2)), 0700), 0);
    assert_int_equal(mkfifo(path_of(name_at(old - 3)), 0600), 0);
    now = apr_time_from_sec(time(NULL)) + 60 * SEC;
    memset(&seen, 0, sizeof(seen));
    assert_int_not_equal(vapi_spool_walk(spool, see, &seen, pool), APR_SUCCESS);
    assert_string_equal(seen.text, "whole  ");
}

static void test_sizes(void **unused)
{
    char *large = malloc(VAPI_SPOOLED_MAX + 2);
    vapi_spooled_t *file;
    seen_t seen;

    (void)unused;
    memset(large, 'x', VAPI_SPOOLED_MAX + 1);
    large[VAPI_SPOOLED_MAX + 1] = '\0';
    assert_int_equal(vapi_spool_put(spool, large, VAPI_SPOOLED_MAX + 1, &file), APR_EINVAL);
    assert_int_equal(vapi_spool_put(spool, large, VAPI_SPOOLED_MAX, &file), APR_SUCCESS);
    vapi_spool_later(file, 1);
    now += 900 * SEC;
    seen = walk(DELIVER);
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.failures, 1);
    make_file(name_at(now), large, now);
    assert_string_equal(walk(DELIVER).text, " ");
    assert_counts(0, 0);
    free(large);
}

static int files_in_directory(void)
{
    int n = 0;
    FILE *list = popen(apr_psprintf(pool, "ls -A %s | wc -l", dir), "r");

    assert_int_equal(fscanf(list, "%d", &n), 1);
    pclose(list);
    return n;
}

static void test_full_disk(void **unused)
{
    struct rlimit all, little;
    vapi_spooled_t *file;

    (void)unused;
    getrlimit(RLIMIT_FSIZE, &all);
    little = all;
    little.rlim_cur = 1000;
    setrlimit(RLIMIT_FSIZE, &little);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(vapi_spool_put(spool, apr_psprintf(pool, "%2000s", ""), 2000, &file), EFBIG);
    setrlimit(RLIMIT_FSIZE, &all);
    assert_int_equal(files_in_directory(), 1);    /* set-aside */
}

/* ---- several processes ---- */

static void await(const char *content, int fd)
{
    char got[16] = "";

    assert_int_equal(read(fd, got, strlen(content)), strlen(content));
    assert_string_equal(got, content);
}

static void end_process(pid_t pid, int sig)
{
    int status;

    kill(pid, sig);
    assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void test_death(void **unused)
{
    vapi_spooled_t *file;
    int fds[2];
    pid_t pid;

    (void)unused;
    assert_int_equal(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        alarm(20);
        if (vapi_spool_put(spool, "kept", 4, &file) != APR_SUCCESS || write(fds[1], "put", 3) != 3) {
            _exit(1);
        }
        pause();
        _exit(0);
    }
    await("put", fds[0]);
    now += 10 * SEC;
    assert_counts(1, 0);
    assert_int_equal(walk(DELIVER).n, 0);
    end_process(pid, SIGKILL);
    assert_string_equal(walk(DELIVER).text, "kept ");
    close(fds[0]);
    close(fds[1]);
}

static int tell(void *baton, vapi_spooled_t *file, const char *content, apr_size_t len)
{
    const int *fd = baton;

    (void)len;
    if (write(*fd, content, 4) != 4) {
        _exit(1);
    }
    usleep(200);
    vapi_spool_done(file);
    return 1;
}

/* Several that walk at once deliver each once. */
static void test_crowd(void **unused)
{
    enum { FILES = 400, CROWD = 4 };
    static char times[FILES];
    char number[5] = "";
    int fds[2], i, n = 0;
    pid_t pids[CROWD];

    (void)unused;
    memset(times, 0, sizeof(times));
    for (i = 0; i < FILES; i++) {
        now++;
        put(apr_psprintf(pool, "%04d", i));
    }
    now += 10 * SEC;
    assert_int_equal(pipe(fds), 0);
    for (i = 0; i < CROWD; i++) {
        if ((pids[i] = fork()) == 0) {
            alarm(60);
            _exit(vapi_spool_walk(spool, tell, &fds[1], pool) != APR_SUCCESS);
        }
    }
    close(fds[1]);
    while (read(fds[0], number, 4) == 4) {
        assert_int_equal(times[atoi(number)]++, 0);
        n++;
    }
    close(fds[0]);
    for (i = 0; i < CROWD; i++) {
        assert_int_equal(waitpid(pids[i], &n, 0), pids[i]);
        assert_int_equal(n, 0);
    }
    assert_int_equal(memchr(times, 0, FILES) == NULL, 1);
    assert_counts(0, 0);
}

/* ---- many ---- */

/* Of this process: whatever else the machine has to do. */
static apr_interval_time_t working_time(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return apr_time_from_sec(ts.tv_sec) + ts.tv_nsec / 1000;
}

static void test_many(void **unused)
{
    apr_interval_time_t best = 100 * SEC, began;
    int i;

    (void)unused;
    for (i = 0; i < 10000; i++) {
        make_file(name_at(now + i), "x", now + 100 * SEC);
    }
    for (i = 0; i < 5; i++) {
        began = working_time();
        assert_int_equal(walk(DELIVER).n, 0);
        best = working_time() - began < best ? working_time() - began : best;
    }
    print_message("# 10000 files of which none is due: %d us\n", (int)best);
    assert_true(best < SEC / 2);    /* 50 ms are wanted: what a slow machine and sanitizers cost is left out */
    assert_counts(10000, 0);
}

/* ---- the directory ---- */

static void assert_check(const char *part)
{
    const char *error = vapi_spool_check(spool, pool);

    if (!part) {
        assert_null(error);
        return;
    }
    assert_non_null(error);
    assert_non_null(strstr(error, part));
}

static void test_directory(void **unused)
{
    const char *aside = path_of("set-aside");
    struct stat st;

    (void)unused;
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(st.st_uid, ap_unixd_config.user_id);
    assert_int_equal(stat(aside, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(st.st_uid, ap_unixd_config.user_id);
    assert_check(NULL);
    chmod(dir, 0750);
    assert_check(NULL);
    chmod(dir, 0755);
    assert_check("read by others");
    chmod(dir, 0770);
    assert_check("written by others");
    chmod(dir, 0700);
    chmod(aside, 0707);
    assert_check("set-aside may be written");
    chmod(aside, 0700);
    ap_unixd_config.user_id += geteuid() == 0;
    assert_check(geteuid() == 0 ? "chown it to somebody" : NULL);
    ap_unixd_config.user_id -= geteuid() == 0;
}

static void test_no_directory(void **unused)
{
    (void)unused;
    assert_string_equal(vapi_spool_configure(&spool, "here", 0, pool), "'here' is no absolute path");
    assert_null(vapi_spool_configure(&spool, apr_pstrcat(pool, root, "/none/", NULL), 0, pool));
    assert_string_equal(vapi_spool_directory(spool), apr_pstrcat(pool, root, "/none", NULL));
    assert_check(NULL);
    assert_null(vapi_spool_configure(&spool, apr_pstrcat(pool, root, "/none/deeper", NULL), 0, pool));
    assert_check("there is no directory");
    assert_int_equal(vapi_spool_open(spool, pool), ENOENT);
    assert_null(vapi_spool_configure(&spool, "/dev/null", 0, pool));
    assert_check("is no directory");
    assert_null(vapi_spool_configure(&spool, "/dev/null/x", 0, pool));
    assert_check("cannot be looked at");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pauses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_strangers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_death, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_crowd, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_directory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_directory, set_up, tear_down),
    };
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    apr_initialize();
    ap_unixd_config.user_id = geteuid() == 0 ? 12345 : geteuid();
    ap_unixd_config.group_id = getegid();
    ap_unixd_config.user_name = "somebody";
    if (!mkdtemp(root)) {
        return 1;
    }
    failed = cmocka_run_group_tests_name("spool", tests, NULL, NULL);
    rmdir(root);
    apr_terminate();
    return failed;
}
