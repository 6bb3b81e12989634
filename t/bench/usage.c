/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "usage.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/** Adds the CPU time of one process if it is of the session. @return whether it is */
static int add_cpu(usage_t *sum, pid_t pid, pid_t leader)
{
    char path[64], line[1024];
    unsigned long utime, stime;
    long ended_utime, ended_stime;
    double tick_us = 1e6 / (double)sysconf(_SC_CLK_TCK);
    const char *after_name;
    int session;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    f = fopen(path, "r");
    if (!f) {
        return 0;
    }
    after_name = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
    fclose(f);
    if (!after_name || sscanf(after_name + 1, " %*c %*d %*d %d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld", &session, &utime, &stime,
                              &ended_utime, &ended_stime) != 5 || session != leader) {
        return 0;
    }
    if (pid == leader) {
        utime += (unsigned long)ended_utime;
        stime += (unsigned long)ended_stime;
    }
    sum->user_us += (double)utime * tick_us;
    sum->cpu_us += (double)(utime + stime) * tick_us;
    return 1;
}

static void add_memory(usage_t *sum, pid_t pid)
{
    char path[64], line[256];
    unsigned long kb;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    f = fopen(path, "r");
    if (!f) {
        return;
    }
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "Rss: %lu", &kb) == 1) {
            sum->rss_kb += kb;
        }
        else if (sscanf(line, "Pss: %lu", &kb) == 1) {
            sum->pss_kb += kb;
        }
    }
    fclose(f);
}

usage_t usage_of_session(pid_t leader, int with_memory)
{
    usage_t sum = { 0 };
    struct dirent *entry;
    DIR *proc = leader ? opendir("/proc") : NULL;
    pid_t pid;

    while (proc && (entry = readdir(proc))) {
        pid = atoi(entry->d_name);
        if (pid <= 0 || !add_cpu(&sum, pid, leader)) {
            continue;
        }
        sum.processes++;
        if (with_memory) {
            add_memory(&sum, pid);
        }
    }
    if (proc) {
        closedir(proc);
    }
    return sum;
}
