// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Settings: what is read, what is refused and how, and who overrides whom.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/conf.h"

static char path[] = "/tmp/teramem-test-conf-XXXXXX";

static int load(struct tm_conf *conf, const char *partition, const char *text,
		char error[512])
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	return tm_conf_load(conf, path, partition, error, 512);
}

static void refuses(const char *text, const char *wanted)
{
	struct tm_conf conf;
	char error[512], whole[600];

	tm_conf_init(&conf);
	assert_int_equal(load(&conf, NULL, text, error), -EINVAL);
	snprintf(whole, sizeof(whole), "%s:%s", path, wanted);
	assert_string_equal(error, whole);
}

static void test_refused(void **state)
{
	refuses("Blocks=1M", "1: unknown key 'Blocks'; see teramem.conf(5)");
	refuses("# fine\n\nPolicy=lru Blo\033k=1",
		"3: unknown key 'Blo?k'; see teramem.conf(5)");
	refuses("Policy", "1: 'Policy' has no value (write Key=value)");
	refuses("Policy=x", "1: Policy=x: unknown (use lru or fifo)");
	refuses("Engine=x", "1: Engine=x: unknown (use auto, kmod or uffd)");
	refuses("BlockSize=1X",
		"1: BlockSize=1X: unknown unit 'X' (use K, M, G or T)");
	refuses("BlockSize=4M", "1: BlockSize=4M: not from 4K to 2M");
	refuses("BlockSize=12K",
		"1: BlockSize=12K: not a power of two from 4K to 2M");
	refuses("Donors=-1", "1: Donors=-1: not a whole number from 1 to 256");
	refuses("Donors=", "1: Donors=: not a whole number from 1 to 256");
	refuses("Ports=1-5", "1: Ports=1-5: not a range of at least 64 ports "
			     "(like 21000-24999)");
	refuses("Ports=2000-2062", "1: Ports=2000-2062: not a range of at "
				   "least 64 ports (like 21000-24999)");
	refuses("DonorPartition=a;b",
		"1: DonorPartition=a;b: not the name of a partition");
	refuses("DonorNodes=n1;n2", "1: DonorNodes=n1;n2: not a list of nodes "
				    "(like n4,n[7-9])");
	refuses("DonorPartition=--uid=0",
		"1: DonorPartition=--uid=0: not the name of a partition");
	refuses("Size=1G",
		"1: Size: is for each job to say, not for this file");
	refuses("Policy=lru Partition=a",
		"1: Partition= must be first in its line");
	refuses("Partition=", "1: Partition= has no name");
	/* Lines of partitions that were not asked for are checked, too. */
	refuses("Partition=other Policy=x",
		"1: Policy=x: unknown (use lru or fifo)");
}

static void test_missing(void **state)
{
	struct tm_conf conf;
	char error[512];

	tm_conf_init(&conf);
	assert_int_equal(tm_conf_load(&conf, "/nonexistent/t.conf", NULL, error,
				      sizeof(error)),
			 -ENOENT);
	assert_string_equal(error, "cannot read /nonexistent/t.conf: No such "
				   "file or directory");
}

static void test_precedence(void **state)
{
	static const char text[] = "Partition=gpu BlockSize=2M Donors=4\n"
				   "blocksize=1M Policy=fifo Donors=2 # more\n"
				   "Partition=cpu BlockSize=4K\n";
	struct tm_conf conf;
	char error[512];

	setenv("TERAMEM_DONORS", "3", 1);
	tm_conf_init(&conf);
	assert_int_equal(tm_conf_set(&conf, TM_CONF_SIZE, "1G",
				     TM_CONF_FROM_COMMAND_LINE, error, 512),
			 0);
	assert_int_equal(tm_conf_environment(&conf, error, 512), 0);
	assert_int_equal(load(&conf, "gpu", text, error), 0);
	assert_int_equal(conf.size_bytes, 1 << 30);
	assert_int_equal(conf.donors, 3);
	assert_int_equal(conf.origin[TM_CONF_DONORS], TM_CONF_FROM_ENVIRONMENT);
	assert_int_equal(conf.block_bytes, 2 << 20);
	assert_int_equal(conf.origin[TM_CONF_BLOCK], TM_CONF_FROM_PARTITION);
	assert_int_equal(conf.line[TM_CONF_BLOCK], 1);
	assert_int_equal(conf.policy, 1);
	assert_int_equal(conf.origin[TM_CONF_POLICY], TM_CONF_FROM_FILE);
	assert_int_equal(conf.line[TM_CONF_POLICY], 2);
	assert_int_equal(conf.placement, 0);
	assert_int_equal(conf.origin[TM_CONF_PLACEMENT], TM_CONF_FROM_DEFAULT);

	tm_conf_init(&conf);
	assert_int_equal(conf.block_bytes, 0);
	assert_int_equal(load(&conf, "none", text, error), 0);
	assert_int_equal(conf.block_bytes, 1 << 20);
	assert_int_equal(conf.donors, 2);

	setenv("TERAMEM_DONORS", "many", 1);
	assert_int_equal(tm_conf_environment(&conf, error, 512), -EINVAL);
	assert_string_equal(error, "environment TERAMEM_DONORS=many: not a "
				   "whole number from 1 to 256");
	unsetenv("TERAMEM_DONORS");
}

/* What is shown can be given again, and means the same. */
static void test_format(void **state)
{
	static const struct {
		enum tm_conf_key key;
		const char *text, *shown;
	} values[] = {
		{TM_CONF_SIZE, "100", "100M"},
		{TM_CONF_SIZE, "2048", "2G"},
		{TM_CONF_SIZE, "1536M", "1536M"},
		{TM_CONF_SIZE, "1T", "1024G"},
		{TM_CONF_BLOCK, "4096K", NULL},
		{TM_CONF_BLOCK, "64k", "64K"},
		{TM_CONF_BLOCK, "auto", "auto"},
		{TM_CONF_PREFETCH, "off", "off"},
		{TM_CONF_PRELOAD, NULL, "1M"},
		{TM_CONF_PRELOAD, "", "1M"},
		{TM_CONF_ENGINE, "uffd", "uffd"},
		{TM_CONF_PORTS, "3000-4000", "3000-4000"},
		{TM_CONF_DONOR_PARTITION, "a.b-c_1", "a.b-c_1"},
		{TM_CONF_DONOR_NODES, "n4,n[7-9]", "n4,n[7-9]"},
	};
	char why[128], text[TM_CONF_NAME_MAX];
	struct tm_conf conf;
	size_t i;
	int ret;

	tm_conf_init(&conf);
	for (i = 0; i < sizeof(values) / sizeof(*values); i++) {
		ret = tm_conf_set(&conf, values[i].key, values[i].text,
				  TM_CONF_FROM_COMMAND_LINE, why, sizeof(why));
		assert_int_equal(ret, values[i].shown ? 0 : -EINVAL);
		if (ret)
			continue;
		tm_conf_format(&conf, values[i].key, text, sizeof(text));
		assert_string_equal(text, values[i].shown);
	}
}

static void test_limits(void **state)
{
	struct tm_conf conf;
	char error[512];

	tm_conf_init(&conf);
	conf.size_bytes = 3ULL << 30;
	assert_int_equal(tm_conf_check(&conf, error, 512), 0);
	conf.size_max_bytes = 2ULL << 30;
	assert_int_equal(tm_conf_check(&conf, error, 512), -EINVAL);
	assert_string_equal(error, "--teramem=3G: at most 2G is allowed here "
				   "(SizeMax in teramem.conf)");
	conf.size_bytes = 1 << 30;
	conf.donors = 65;
	assert_int_equal(tm_conf_check(&conf, error, 512), -EINVAL);
	assert_string_equal(error, "--teramem-donors=65: at most 64 are "
				   "allowed here (DonorsMax in teramem.conf)");
}

static int set_up(void **state)
{
	int fd = mkstemp(path);

	return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
	return unlink(path);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_precedence),
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
