/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <apr_file_io.h>
#include <apr_general.h>
#include <apr_strings.h>

#include "vapi_lastgood.h"

static apr_pool_t *pool;        /* the test's own */
static apr_pool_t *process;     /* as httpd's: one through all readings */
static apr_pool_t *pconf;
static char dir[] = "/tmp/vapi-lastgood-XXXXXX";
static int checks;

/* ---- a server that reads its configuration again and again ---- */

static void next_reading(void)
{
    apr_pool_clear(pconf);
    checks = 0;
}

static int start(void **state)
{
    (void)state;
    apr_pool_create(&process, NULL);
    apr_pool_create(&pconf, process);
    checks = 0;
    return 0;
}

static int stop(void **state)
{
    (void)state;
    apr_pool_destroy(process);
    return 0;
}

static const char *path_of(const char *name)
{
    return apr_pstrcat(pool, dir, "/", name, NULL);
}

static void write_file(const char *name, const char *content)
{
    apr_file_t *file;

    assert_int_equal(apr_file_open(&file, path_of(name), APR_FOPEN_WRITE | APR_FOPEN_CREATE | APR_FOPEN_TRUNCATE,
                                   APR_FPROT_OS_DEFAULT, pool), APR_SUCCESS);
    assert_int_equal(apr_file_write_full(file, content, strlen(content), NULL), APR_SUCCESS);
    apr_file_close(file);
}

/* Bad is what has a `!`, and says so from its own pool. */
static const char *no_bang(const char *content, apr_size_t len, apr_pool_t *p)
{
    const char *bang = memchr(content, '!', len);

    checks++;
    assert_int_equal(content[len], '\0');
    return bang ? apr_psprintf(p, "line %d: a bang", 1 + (int)(bang - content)) : NULL;
}

static const char *no_digit(const char *content, apr_size_t len, apr_pool_t *p)
{
    (void)p;
    checks++;
    return strcspn(content, "0123456789") < len ? "line 1: a digit" : NULL;
}

static vapi_lastgood_t ask(const char *name)
{
    vapi_lastgood_t good;

    assert_null(vapi_lastgood_read(&good, path_of(name), no_bang, process, pconf));
    assert_int_equal(good.len, strlen(good.content));
    assert_true(good.stale ? good.why != NULL : good.why == NULL);
    return good;
}

static void is_fresh(const char *name, const char *content)
{
    vapi_lastgood_t good = ask(name);

    assert_string_equal(good.content, content);
    assert_int_equal(good.stale, 0);
}

static void is_stale(const char *name, const char *content, const char *why)
{
    vapi_lastgood_t good = ask(name);

    assert_string_equal(good.content, content);
    assert_int_equal(good.stale, 1);
    assert_string_equal(good.why, apr_psprintf(pool, why, path_of(name)));
}

static void is_refused(const char *name, const char *error)
{
    vapi_lastgood_t good;
    const char *text = vapi_lastgood_read(&good, path_of(name), no_bang, process, pconf);

    assert_non_null(text);
    assert_string_equal(text, apr_psprintf(pool, error, path_of(name)));
    assert_null(good.content);
}

/* ---- tests ---- */

static void test_first_start(void **state)
{
    (void)state;
    is_refused("absent", "cannot read %s: No such file or directory");
    write_file("bad", "ok\n!");
    is_refused("bad", "%s, line 4: a bang");
    write_file("empty", "");
    is_fresh("empty", "");
    write_file("file", "one\n");
    is_fresh("file", "one\n");
}

static void test_no_files(void **state)
{
    (void)state;
    is_refused("", "cannot read %s: Is a directory");
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    is_refused("fifo", "cannot read %s: it is not a regular file");
    assert_int_equal(symlink("/dev/zero", path_of("device")), 0);
    is_refused("device", "cannot read %s: it is not a regular file");
    write_file("huge", "");
    assert_int_equal(truncate(path_of("huge"), (off_t)1024 * 1024 * 1024 + 1), 0);
    is_refused("huge", "cannot read %s: it is larger than 1024 MB");
    assert_int_equal(truncate(path_of("huge"), 0), 0);
}

static void test_broken_then_mended(void **state)
{
    const char *at;

    (void)state;
    write_file("file", "one");
    is_fresh("file", "one");
    next_reading();
    is_fresh("file", "one");
    at = ask("file").content;
    write_file("file", "two!");
    next_reading();
    is_stale("file", "one", "%s, line 4: a bang");
    assert_ptr_equal(ask("file").content, at);
    next_reading();
    is_stale("file", "one", "%s, line 4: a bang");
    write_file("file", "!three");
    next_reading();
    is_stale("file", "one", "%s, line 1: a bang");
    write_file("file", "four");
    next_reading();
    is_fresh("file", "four");
    write_file("file", "!");
    next_reading();
    is_stale("file", "four", "%s, line 1: a bang");
}

static void test_vanished(void **state)
{
    (void)state;
    write_file("file", "one");
    is_fresh("file", "one");
    unlink(path_of("file"));
    next_reading();
    is_stale("file", "one", "cannot read %s: No such file or directory");
    assert_int_equal(mkdir(path_of("file"), 0700), 0);
    next_reading();
    is_stale("file", "one", "cannot read %s: Is a directory");
    rmdir(path_of("file"));
    write_file("file", "one");
    next_reading();
    is_fresh("file", "one");
}

static void test_two_askers(void **state)
{
    const char *at;

    (void)state;
    write_file("file", "one");
    at = ask("file").content;
    write_file("file", "two");
    assert_ptr_equal(ask("file").content, at);
    is_fresh("file", "one");
    assert_int_equal(checks, 1);
    write_file("file", "two!");
    next_reading();
    is_stale("file", "one", "%s, line 4: a bang");
    write_file("file", "three");
    is_stale("file", "one", "%s, line 4: a bang");
    unlink(path_of("file"));
    is_stale("file", "one", "%s, line 4: a bang");
    is_refused("absent", "cannot read %s: No such file or directory");
    write_file("absent", "now");
    is_refused("absent", "cannot read %s: No such file or directory");
    unlink(path_of("absent"));
}

/* What one reading was given stays where it is while other files are asked for, and while the file changes. */
static void test_addresses(void **state)
{
    vapi_lastgood_t a, b, c;

    (void)state;
    write_file("a", "content of a");
    write_file("b", "content of b");
    write_file("c", "content of c");
    a = ask("a");
    b = ask("b");
    next_reading();
    write_file("b", "!");
    write_file("a", "new content of a");
    a = ask("a");
    b = ask("b");
    c = ask("c");
    is_fresh("a", "new content of a");
    assert_string_equal(a.content, "new content of a");
    assert_string_equal(b.content, "content of b");
    assert_string_equal(c.content, "content of c");
}

/* Of a map that was taken out and comes back only the present file counts. */
static void test_forgotten(void **state)
{
    (void)state;
    write_file("file", "one");
    write_file("other", "other");
    is_fresh("file", "one");
    is_fresh("other", "other");
    next_reading();
    is_fresh("other", "other");
    next_reading();
    is_fresh("other", "other");
    write_file("file", "!");
    is_refused("file", "%s, line 1: a bang");
    is_fresh("other", "other");
}

/* A file that two kinds of directive read: each has its own last good content, over any number of readings. */
static void test_two_checks(void **state)
{
    vapi_lastgood_t digits;
    const char *file = path_of("file");
    int i;

    (void)state;
    write_file("file", "one");
    is_fresh("file", "one");
    assert_null(vapi_lastgood_read(&digits, file, no_digit, process, pconf));
    assert_int_equal(digits.stale, 0);
    write_file("file", "2");
    for (i = 0; i < 3; i++) {
        next_reading();
        is_fresh("file", "2");
        assert_null(vapi_lastgood_read(&digits, file, no_digit, process, pconf));
        assert_string_equal(digits.content, "one");
        assert_string_equal(digits.why, apr_pstrcat(pool, file, ", line 1: a digit", NULL));
        is_fresh("file", "2");
    }
    write_file("file", "three");
    next_reading();
    assert_null(vapi_lastgood_read(&digits, file, no_digit, process, pconf));
    assert_string_equal(digits.content, "three");
    assert_int_equal(digits.stale, 0);
    is_fresh("file", "three");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_first_start, start, stop),
        cmocka_unit_test_setup_teardown(test_no_files, start, stop),
        cmocka_unit_test_setup_teardown(test_broken_then_mended, start, stop),
        cmocka_unit_test_setup_teardown(test_vanished, start, stop),
        cmocka_unit_test_setup_teardown(test_two_askers, start, stop),
        cmocka_unit_test_setup_teardown(test_addresses, start, stop),
        cmocka_unit_test_setup_teardown(test_forgotten, start, stop),
        cmocka_unit_test_setup_teardown(test_two_checks, start, stop),
    };
    static const char *const made[] = { "bad", "empty", "file", "fifo", "device", "huge", "a", "b", "c", "other", "absent" };
    apr_size_t i;
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (!mkdtemp(dir)) {
        return 1;
    }
    apr_initialize();
    apr_pool_create(&pool, NULL);
    failed = cmocka_run_group_tests_name("lastgood", tests, NULL, NULL);
    for (i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
        unlink(path_of(made[i]));
    }
    rmdir(dir);
    apr_pool_destroy(pool);
    apr_terminate();
    return failed;
}
