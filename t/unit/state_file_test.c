/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "moved_clock.h"
#include "state_store.h"

#define OTHER_ID "00000000-0000-0000-0000-000000000000"

static void assert_note(int n, vapi_note_level level, const char *part)
{
    assert_int_equal(notes->nelts, n);
    assert_int_equal(APR_ARRAY_IDX(notes, n - 1, vapi_state_note_t).level, level);
    assert_non_null(strstr(APR_ARRAY_IDX(notes, n - 1, vapi_state_note_t).text, part));
}

static int is_file(const char *suffix)
{
    struct stat st;

    return lstat(apr_pstrcat(pool, path, suffix, NULL), &st) == 0;
}

/* Who has the file for itself knows that whoever worked is dead: what was begun is free, what was committed counts as settled. */
static void assert_owners_dead(vapi_state_table_t *t, const char *reply)
{
    vapi_claim_t c = recall(t, "committed");

    assert_int_equal(recall(t, "working").verdict, VAPI_CLAIM_NONE);
    assert_int_equal(c.verdict, VAPI_CLAIM_SETTLED);
    assert_int_equal(c.lost, 1);
    assert_string_equal(c.reply, reply);
    assert_true(c.left > 40 * SEC && c.left <= 60 * SEC);
}

static void test_persistence(void **unused)
{
    vapi_state_table_t *t = open_store(path, MB);
    apr_uint64_t token = take(t, "committed", 60 * SEC);
    struct stat st;
    int value;

    (void)unused;
    assert_int_equal(notes->nelts, 0);
    put_settled(t, "settled", "said");
    take(t, "working", 60 * SEC);
    assert_int_equal(commit(t, "committed", token, "x", 60 * SEC), APR_SUCCESS);
    assert_int_equal(count(t, "n", 4, -1, 60 * SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(put(t, "settled", "a value", 60 * SEC), APR_SUCCESS);
    assert_int_equal(put(t, "short", "x", 1), APR_SUCCESS);
    close_checked(t);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size == MB && (st.st_mode & 0777) == 0600 && st.st_blocks * 512 >= MB);
    t = open_store(path, MB);
    assert_int_equal(notes->nelts, 0);
    assert_string_equal(recall(t, "settled").reply, "said");
    assert_owners_dead(t, "x");
    assert_int_equal(value_of(t, "n"), 4);
    assert_string_equal(get(t, "settled"), "a value");
    assert_null(get(t, "short"));
    close_checked(t);
    t = open_store(path, MB);
    assert_owners_dead(t, "x");
    assert_string_equal(get(t, "settled"), "a value");
    take(t, "working", SEC);
    close_checked(t);
}

static void test_in_use(void **unused)
{
    vapi_state_table_t *t = open_store(path, MB), *other = open_store(path, MB), *again;
    int status;
    pid_t pid;

    (void)unused;
    assert_note(1, VAPI_NOTE_ERROR, "in use by another server");
    assert_int_equal(vapi_state_table_mapping(other)->fd, -1);
    put_settled(t, "a", "t's");
    put_settled(other, "a", "other's");
    assert_int_equal(vapi_state_table_attach(&again, vapi_state_table_mapping(t), pool), APR_SUCCESS);
    assert_string_equal(recall(again, "a").reply, "t's");
    vapi_state_table_close(other);
    pid = fork();
    if (pid == 0) {                      /* a child holds the file as long as it lives */
        alarm(20);
        pause();
    }
    vapi_state_table_close(t);
    other = open_store(path, MB);
    assert_int_equal(vapi_state_table_mapping(other)->fd, -1);
    vapi_state_table_close(other);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    t = open_store(path, MB);
    assert_string_equal(recall(t, "a").reply, "t's");
    close_checked(t);
}

/* Changes some bytes of the closed file. */
static void patch(off_t at, const void *data, size_t n)
{
    int fd = open(path, O_RDWR);

    assert_int_equal(pwrite(fd, data, n, at), n);
    close(fd);
}

static void assert_not_taken(const char *why)
{
    vapi_state_table_t *t = open_store(path, MB);

    assert_note(1, VAPI_NOTE_WARNING, why);
    assert_true(is_file(".old") && !is_file(".new"));
    assert_int_equal(recall(t, "a").verdict, VAPI_CLAIM_NONE);
    put_settled(t, "a", "x");
    close_checked(t);
    unlink(apr_pstrcat(pool, path, ".old", NULL));
}

static void test_unusable(void **unused)
{
    apr_uint32_t layout = VAPI_STATE_LAYOUT + 1, older = 2;

    (void)unused;
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_not_taken("no state file");
    patch(offsetof(vapi_header_t, layout), &layout, sizeof layout);
    assert_not_taken("another version");
    patch(offsetof(vapi_header_t, layout), &older, sizeof older);    /* without leases */
    assert_not_taken("another version");
    patch(offsetof(vapi_header_t, salt), "other salt", 10);
    assert_not_taken("damaged");
    patch(offsetof(vapi_header_t, geometry) + offsetof(vapi_geometry_t, slots), "\xff\xff\xff\xff", 4);
    assert_not_taken("damaged");
    patch(0, "something else", 8);
    assert_not_taken("no state file");
    assert_int_equal(truncate(path, 5000), 0);
    assert_not_taken("damaged");
}

/* Where in the file the slot is whose reply or value begins so, and where that is. */
static off_t place_of(const vapi_state_table_t *t, const char *beginning, off_t *data)
{
    apr_uint32_t i, s;

    for (i = 0; i < t->geometry.stripes; i++) {
        vapi_stripe_t st = vapi_state_stripe(t, i);

        for (s = 0; s < t->geometry.slots; s++) {
            apr_uint32_t block = st.slots[s].which ? vapi_slot_entry(&st.slots[s])->first_block : VAPI_STATE_NIL;

            if (block != VAPI_STATE_NIL && memcmp(st.blocks[block].data, beginning, strlen(beginning)) == 0) {
                *data = (char *)st.blocks[block].data - (char *)t->mapping.base;
                return (char *)&st.slots[s] - (char *)t->mapping.base;
            }
        }
    }
    fail();
    return -1;
}

static void test_torn_entry(void **unused)
{
    vapi_state_table_t *t = open_store(path, MB);
    off_t reply, value, slot, other;

    (void)unused;
    put_settled(t, "torn", "TORN REPLY");
    put_settled(t, "whole", "WHOLE");
    assert_int_equal(put(t, "torn", "TORN VALUE", 60 * SEC), APR_SUCCESS);
    assert_int_equal(put(t, "whole", "WHOLE VALUE", 60 * SEC), APR_SUCCESS);
    assert_int_equal(put(t, "another's", "SOMEBODY'S", 60 * SEC), APR_SUCCESS);
    assert_int_equal(put(t, "longer", "LIVES LONGER", 60 * SEC), APR_SUCCESS);
    place_of(t, "TORN REPLY", &reply);
    place_of(t, "TORN VALUE", &value);
    slot = place_of(t, "SOMEBODY'S", &other);
    other = place_of(t, "LIVES LONGER", &other);
    close_checked(t);
    patch(reply, "X", 1);
    patch(value, "X", 1);
    patch(slot + (off_t)offsetof(vapi_slot_t, digest) + 8, "another", 7);
    patch(other + (off_t)(offsetof(vapi_slot_t, version) + offsetof(vapi_version_t, expires)) + 6, "\1", 1);
    t = open_store(path, MB);
    assert_note(1, VAPI_NOTE_WARNING, "4 entries were damaged");
    assert_int_equal(recall(t, "torn").verdict, VAPI_CLAIM_NONE);
    assert_string_equal(recall(t, "whole").reply, "WHOLE");
    assert_null(get(t, "torn"));
    assert_null(get(t, "another's"));
    assert_null(get(t, "longer"));
    assert_string_equal(get(t, "whole"), "WHOLE VALUE");
    close_checked(t);
}

/* Bytes thrown into the stripes: whatever is kept is sound. */
static void test_garbage(void **unused)
{
    vapi_state_table_t *t;
    int i, n;

    (void)unused;
    garbage = 1;
    for (n = 0; n < 30; n++) {
        t = open_store(path, MB);
        for (i = 0; i < 300; i++) {
            claim(t, apr_psprintf(pool, "w%d-%d", n, i % 30), 60 * SEC);
            put_settled(t, apr_psprintf(pool, "s%d-%d", n, i), "some reply");
            assert_int_equal(put(t, apr_psprintf(pool, "v%d-%d", n, i), "some value", 60 * SEC), APR_SUCCESS);
        }
        close_checked(t);
        for (i = 0; i < 1 + n * 100; i++) {
            apr_uint32_t word = rand() % 3 ? (apr_uint32_t)rand() % 2000 : (apr_uint32_t)rand() * 2;

            patch(VAPI_STATE_HEADER + rand() % (MB - VAPI_STATE_HEADER - 4), &word, 1 + rand() % 4);
        }
        t = open_store(path, n % 2 ? 2 * MB : MB);
        close_checked(t);
        pass(61 * SEC);                  /* a value takes no room from the replies of earlier rounds */
    }
    garbage = 0;
}

static void fill_some(vapi_state_table_t *t, int n)
{
    int i, value;

    take(t, "working", 60 * SEC);
    assert_int_equal(commit(t, "committed", take(t, "committed", 60 * SEC), "half", 60 * SEC), APR_SUCCESS);
    assert_int_equal(count(t, "n", 4, -1, 60 * SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(put(t, "left behind", "a value", 60 * SEC), APR_SUCCESS);
    for (i = 0; i < n; i++) {
        put_settled(t, apr_psprintf(pool, "s%d", i), apr_psprintf(pool, "reply %d", i));
    }
}

static void test_other_size(void **unused)
{
    vapi_state_table_t *t = open_store(path, 4 * MB);
    apr_uint64_t token;
    int i;

    (void)unused;
    fill_some(t, 3000);
    token = take(t, "late", 60 * SEC);
    assert_string_equal(get(t, "left behind"), "a value");
    close_checked(t);
    t = open_store(path, 8 * MB);
    assert_null(get(t, "left behind"));
    assert_true(notes->nelts == 0 && t->geometry.size == 8 * MB && !is_file(".old") && !is_file(".new"));
    for (i = 0; i < 3000; i++) {
        assert_string_equal(recall(t, apr_psprintf(pool, "s%d", i)).reply, apr_psprintf(pool, "reply %d", i));
    }
    assert_owners_dead(t, "half");
    assert_int_equal(settle(t, "late", token, "", 60 * SEC), APR_NOTFOUND);
    close_checked(t);
    t = open_store(path, MB);
    assert_int_equal(notes->nelts, 0);
    assert_owners_dead(t, "half");
    assert_int_equal(value_of(t, "n"), 4);
    assert_int_equal(recall(t, "s0").verdict, VAPI_CLAIM_NONE);
    assert_string_equal(recall(t, "s2999").reply, "reply 2999");
    close_checked(t);
}

/* As if the machine had been started anew, `off` later by the wall clock than the times in the file say. */
static vapi_state_table_t *reboot(apr_interval_time_t off)
{
    vapi_state_table_t *t = open_store(path, MB);
    apr_int64_t wall = atomic_load(&t->header->wall) - off;

    vapi_state_table_close(t);
    patch(offsetof(vapi_header_t, boot_id), OTHER_ID, sizeof OTHER_ID - 1);
    patch(offsetof(vapi_header_t, wall), &wall, sizeof wall);
    t = open_store(path, MB);
    assert_int_equal(notes->nelts, 0);
    assert_memory_not_equal(t->header->boot_id, OTHER_ID, sizeof OTHER_ID - 1);
    return t;
}

static void test_reboot(void **unused)
{
    vapi_state_table_t *t = open_store(path, MB);
    vapi_claim_t c;

    (void)unused;
    fill_some(t, 10);
    close_checked(t);
    t = reboot(10 * SEC);
    assert_null(get(t, "left behind"));
    c = recall(t, "s1");
    assert_string_equal(c.reply, "reply 1");
    assert_true(c.left > 48 * SEC && c.left <= 50 * SEC);
    assert_owners_dead(t, "half");
    assert_int_equal(value_of(t, "n"), 4);
    close_checked(t);
    t = reboot(-5000 * SEC);             /* a wall clock that was put back does not make it live longer */
    c = recall(t, "s1");
    assert_true(c.left > 48 * SEC && c.left <= 60 * SEC);
    close_checked(t);
    t = reboot(100 * SEC);
    assert_int_equal(recall(t, "s1").verdict, VAPI_CLAIM_NONE);
    assert_int_equal(recall(t, "committed").verdict, VAPI_CLAIM_NONE);
    close_checked(t);
}

static void assert_refused(apr_size_t size, const char *why)
{
    vapi_state_open_t how = { path, size, 0 };
    vapi_state_table_t *t;

    notes = apr_array_make(pool, 1, sizeof(vapi_state_note_t));
    assert_int_not_equal(vapi_state_table_open(&t, &how, notes, pool), APR_SUCCESS);
    assert_note(1, VAPI_NOTE_ERROR, why);
}

static void test_refused(void **unused)
{
    struct rlimit all, little = { 2 * MB, RLIM_INFINITY };
    char *other = apr_pstrcat(pool, path, ".other", NULL);
    vapi_state_table_t *t;

    (void)unused;
    assert_refused(MB - 1, "size");
    assert_int_equal(symlink("elsewhere", path), 0);
    assert_refused(MB, "symbolic link");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused(MB, "not a regular file");
    unlink(path);
    t = open_store(path, MB);
    put_settled(t, "a", "x");
    close_checked(t);
    assert_int_equal(link(path, other), 0);
    assert_refused(MB, "not a regular file with one name");
    unlink(other);
    getrlimit(RLIMIT_FSIZE, &all);
    little.rlim_max = all.rlim_max;
    setrlimit(RLIMIT_FSIZE, &little);
    signal(SIGXFSZ, SIG_IGN);
    assert_refused(4 * MB, "no room");
    setrlimit(RLIMIT_FSIZE, &all);
    assert_false(is_file(".new"));
    t = open_store(path, MB);
    assert_string_equal(recall(t, "a").reply, "x");
    close_checked(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_persistence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_in_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unusable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_torn_entry, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_garbage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reboot, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
    };

    return run_store_tests(tests, sizeof tests / sizeof tests[0]);
}
