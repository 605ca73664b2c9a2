/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The job helper's own declarations, grouped by the file that defines them.
 *
 * It runs as root on the nodes of a job, started by the plugin: before the
 * job's first process (prolog), after its last (epilog), and in its extern step
 * (donor, or keep on compute nodes); or by teramem cleanup (sweep).
 * What it writes lies in the job's folder, TM_RUN_FOLDER/JOB, which belongs to
 * root:
 *
 *	ready    the job has its remote memory; lines for the environment
 *	failed   it has none, and why
 *	donors   the number of the job that lends, where it is one of its own
 *	donor    this node lends; what the server needs to be started
 *	map, job the server map and the job file, the user's
 *	log      what the server said
 *	node, processes, cgroups
 *		what sweep.c needs to know once the job is gone
 */
#ifndef TM_SPANK_JOB_H
#define TM_SPANK_JOB_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/conf.h"
#include "common/map.h"
#include "spank/shared.h"

/* A server takes the first port of so many that is free. */
#define TM_PORTS_TRIED 16

/**
 * struct tm_job_request - what the plugin said
 * @leader: the number by which its donors know it: that of a heterogeneous
 *	job's first component; that of the donors' job, where there is one
 * @lenders: components that lend, "1,2"; NULL: a job of its own does
 * @node: this node's name in Slurm
 * @pause_s: that a job has to stay in the queue: a node that knows its old
 *	credential may leave out the prolog
 * @task: a process in the job's cgroup, for the donor
 */
struct tm_job_request {
	uint32_t job, leader, restart;
	uid_t uid;
	gid_t gid;
	const char *partition, *node, *conf_path, *lenders;
	struct tm_conf conf;
	bool donor, dry_run;
	unsigned int pause_s;
	pid_t task;
	char error[512]; /* what is wrong with it, found while it was read */
};

/* ---- prepare.c, donor.c, keep.c, sweep.c -------------------------------- */

int tm_prolog(struct tm_job_request *request);
int tm_epilog(struct tm_job_request *request);
int tm_donor(struct tm_job_request *request);
int tm_keep(struct tm_job_request *request);
int tm_cleanup(struct tm_job_request *request);

/** tm_sweep() - what is left of jobs that are gone, but for @job's */
void tm_sweep(uint32_t job);

/* ---- process.c ----------------------------------------------------------- */

#define TM_PROCESS_NAME_MAX 16

/**
 * struct tm_detached - files in the job's folder, open
 */
struct tm_detached {
	int log, processes;
};

/**
 * tm_process_detach() - go on as a process of the job, still as root
 *
 * Returns 0 there, 1 in the process that called it, or -errno after it said so.
 */
int tm_process_detach(const struct tm_job_request *request,
		      struct tm_detached *detached);

/** tm_process_add() - it belongs to the job, on record from now on; 0 or -errno
 */
int tm_process_add(int processes, pid_t pid);

/**
 * tm_process_end_all() - those on record, if they are what they were then
 * @folder: the job's
 * @ended: told of each, if not NULL
 */
void tm_process_end_all(uint32_t job, int folder, bool dry_run,
			void (*ended)(uint32_t job, pid_t pid,
				      const char *name));

/* ---- agent.c ------------------------------------------------------------ */

/**
 * tm_agent_start() - the kernel engine's space, where the job gets one
 * @device: receives its path; "" where the job pages in user space
 *
 * Returns 0, or -errno with what is wrong in @request.
 */
int tm_agent_start(struct tm_job_request *request, const struct tm_map *map,
		   char device[PATH_MAX]);

/** tm_agent_ended() - after the folder was removed: the last drops the module
 */
void tm_agent_ended(uint32_t job);

/* ---- folder.c ----------------------------------------------------------- */

/** tm_job_folder_make() - empty, new; 0, or -errno after it said so */
int tm_job_folder_make(uint32_t job);

/** tm_job_folder_remove() - and the processes and cgroups on record there */
void tm_job_folder_remove(uint32_t job);

/** tm_job_folder_open() - if it is root's alone; a descriptor or -errno */
int tm_job_folder_open(int at, const char *name);

/** tm_job_folder_empty() - of its files; leaves it */
void tm_job_folder_empty(int fd);

/** tm_job_folder_path() - of a file in it; returns @path */
char *tm_job_folder_path(uint32_t job, const char *name, char path[PATH_MAX]);

/** tm_job_folder_append() - to a file; a descriptor, or -errno, said so */
int tm_job_folder_append(uint32_t job, const char *name, mode_t mode);

/** tm_job_folder_write() - a new file, whole or not at all; 0 or -errno */
int tm_job_folder_write(uint32_t job, const char *name, const char *text);

/* ---- cluster.c ---------------------------------------------------------- */

#define TM_NODES_MAX TM_MAP_SERVERS_MAX

/**
 * struct tm_node - a donor
 * @address: as the controller knows it
 */
struct tm_node {
	char name[TM_CONF_NAME_MAX];
	char address[TM_CONF_NAME_MAX];
};

/**
 * struct tm_cluster_job - what the controller says
 * @memory_bytes: of this component on each of its nodes; 0: not scheduled
 * @nodes: of this component; @restart: how often it was requeued
 */
struct tm_cluster_job {
	uint64_t memory_bytes;
	uint32_t nodes, restart;
	unsigned int nr_donors;
	struct tm_node donor[TM_NODES_MAX];
};

/**
 * tm_cluster_job() - this component, and the nodes of those that lend
 *
 * Returns 0; -EAGAIN while another component has no nodes yet; -errno with
 * @error.
 */
int tm_cluster_job(const struct tm_job_request *request,
		   struct tm_cluster_job *job, char *error, size_t len);

/** tm_cluster_add_donors() - nodes, "n[1-3]"; 0 or -errno with @error */
int tm_cluster_add_donors(struct tm_cluster_job *job, const char *list,
			  char *error, size_t len);

/** tm_cluster_address() - of a node; 0 or -errno with @error */
int tm_cluster_address(const char *node, char address[TM_CONF_NAME_MAX],
		       char *error, size_t len);

/**
 * tm_cluster_has() - whether the controller knows of @job on @node ("": on
 * any), also while it starts or ends there
 *
 * Returns 1, 0, or -errno when the controller does not answer.
 */
int tm_cluster_has(uint32_t job, const char *node);

/**
 * tm_cluster_wants() - whether this start of the job has not ended
 *
 * Nor has it as long as the controller does not answer: nobody can know then.
 */
bool tm_cluster_wants(const struct tm_job_request *request);

/**
 * tm_cluster_times() - what Slurm's configuration leaves the request
 *
 * A prolog that takes longer than it may would drain its node. Returns 0, or
 * -errno with the request's error.
 */
int tm_cluster_times(struct tm_job_request *request);

/* ---- companion.c --------------------------------------------------------- */

/**
 * tm_companion_get() - donors by a job of their own, running
 * @job: receives its nodes; @request: its number as leader
 *
 * The first of the job's nodes submits it, the others find it. Returns 0, or
 * -errno with the request's error; the job may be back in the queue then.
 */
int tm_companion_get(struct tm_job_request *request,
		     struct tm_cluster_job *job);

/** tm_companion_end() - ends the donors' job that this node submitted */
void tm_companion_end(uint32_t job);

struct job_info; /* Slurm's */

/* ---- donors_job.c -------------------------------------------------------- */

/**
 * tm_donors_job_submit() - of the job's user, never on the job's own nodes
 * @job: as the controller knows it
 * @number: receives the donors' job's
 *
 * Returns 0, or -errno with the request's error.
 */
int tm_donors_job_submit(struct tm_job_request *request,
			 const struct job_info *job, uint32_t *number);

/** tm_donors_job_find() - that of this start of the job; 0: there is none */
uint32_t tm_donors_job_find(const struct tm_job_request *request);

/** tm_donors_job_older() - such a job waits, for a job older than @job */
bool tm_donors_job_older(uint32_t job);

/** tm_hold() - the donors' job's script: until the job it serves has ended */
int tm_hold(struct tm_job_request *request);

/* ---- wait.c ------------------------------------------------------------- */

/** tm_port() - the port that is tried after @tried others: no need to ask */
unsigned int tm_port(const struct tm_conf *conf, uint32_t leader,
		     unsigned int tried);

/**
 * tm_wait_donors() - until all serve this job; proves it as the job's user
 * @servers: receives address and capacity of each, in the order of @job
 *
 * Returns 0, or -errno with @error: "7/8 donors ready, missing n12"; -ECANCELED
 * when the job has ended meanwhile.
 */
int tm_wait_donors(const struct tm_job_request *request,
		   const struct tm_cluster_job *job, unsigned int wait_ms,
		   struct tm_map_server *servers, char *error, size_t len);

/** tm_become_user() - for good; 0 or -errno */
int tm_become_user(uid_t uid, gid_t gid);

/* ---- cgroup.c ----------------------------------------------------------- */

/**
 * tm_cgroup_record() - those of the job that this process is in, for
 * tm_cgroup_remove(); 0 or -errno
 */
int tm_cgroup_record(uint32_t job);

/**
 * tm_cgroup_join() - those of @task, once Slurm has put it into the job's
 *
 * Returns 0; -ECANCELED when the step has ended; or -errno after it said so.
 */
int tm_cgroup_join(pid_t task, uint32_t job);

/**
 * tm_cgroup_remove() - those of a job that is gone, as far as they are empty
 * @folder: the job's
 * @removed: told of each that was there, if not NULL
 */
void tm_cgroup_remove(uint32_t job, int folder, bool dry_run,
		      void (*removed)(uint32_t job, const char *path));

#endif /* TM_SPANK_JOB_H */
