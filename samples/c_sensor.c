// SPDX-License-Identifier: GPL-2.0
/*
 * Sample: the driver of rust_sensor.rs in C, with the kernel's own means.
 *
 * Sleepable RCU stands for rundown protection, as in drm_dev_enter(): it has to be
 * entered and left by hand on each path, "unplugged" has to be checked after that,
 * and the reference count keeps the memory for files that are still open.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/ioctl.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/seqlock.h>
#include <linux/slab.h>
#include <linux/srcu.h>
#include <linux/uaccess.h>

struct sensor_stats {
	u64 samples, sum, reads;
};

#define SENSOR_STATS _IOR('q', 0x80, struct sensor_stats)

struct sensor_config {
	u64 period_ns;
	struct rcu_head rcu;
};

struct sensor {
	struct kref ref;
	bool unplugged;
	struct miscdevice misc;
	struct hrtimer timer;
	/* A seqlock_t could not be written in hardware interrupts on PREEMPT_RT. */
	raw_spinlock_t lock;
	seqcount_raw_spinlock_t seq;
	struct sensor_stats stats; /* protected by lock and seq */
	struct mutex config_lock;
	struct sensor_config __rcu *config; /* written under config_lock */
};

DEFINE_STATIC_SRCU(sensor_srcu);

static void sensor_free(struct kref *ref)
{
	struct sensor *sensor = container_of(ref, struct sensor, ref);

	kfree(rcu_dereference_protected(sensor->config, 1));
	kfree(sensor);
}

/* The sensor is there until sensor_exit(), unless this returns false. */
static bool sensor_enter(struct sensor *sensor, int *idx)
{
	*idx = srcu_read_lock(&sensor_srcu);
	if (READ_ONCE(sensor->unplugged)) {
		srcu_read_unlock(&sensor_srcu, *idx);
		return false;
	}
	return true;
}

static void sensor_exit(int idx)
{
	srcu_read_unlock(&sensor_srcu, idx);
}

static enum hrtimer_restart sensor_sample(struct hrtimer *timer)
{
	struct sensor *sensor = container_of(timer, struct sensor, timer);
	unsigned long flags;
	u64 period;

	raw_spin_lock_irqsave(&sensor->lock, flags);
	write_seqcount_begin(&sensor->seq);
	sensor->stats.samples++;
	sensor->stats.sum += sensor->stats.samples;
	write_seqcount_end(&sensor->seq);
	raw_spin_unlock_irqrestore(&sensor->lock, flags);

	rcu_read_lock();
	period = rcu_dereference(sensor->config)->period_ns;
	rcu_read_unlock();
	hrtimer_forward_now(timer, ns_to_ktime(period));
	return HRTIMER_RESTART;
}

static int sensor_open(struct inode *inode, struct file *file)
{
	/* misc_open() has left it here, and holds the lock of misc_deregister(). */
	struct sensor *sensor = container_of(file->private_data, struct sensor, misc);

	kref_get(&sensor->ref);
	file->private_data = sensor;
	return 0;
}

static int sensor_release(struct inode *inode, struct file *file)
{
	struct sensor *sensor = file->private_data;

	kref_put(&sensor->ref, sensor_free);
	return 0;
}

static ssize_t sensor_read(struct file *file, char __user *to, size_t size, loff_t *pos)
{
	struct sensor *sensor = file->private_data;
	unsigned long flags;
	char line[24];
	u64 samples;
	int idx, len;
	ssize_t ret;

	if (!sensor_enter(sensor, &idx))
		return -ENODEV;
	/* The hardware is slow. */
	fsleep(100);
	raw_spin_lock_irqsave(&sensor->lock, flags);
	write_seqcount_begin(&sensor->seq);
	sensor->stats.reads++;
	samples = sensor->stats.samples;
	write_seqcount_end(&sensor->seq);
	raw_spin_unlock_irqrestore(&sensor->lock, flags);
	len = scnprintf(line, sizeof(line), "%llu\n", samples);
	ret = min_t(size_t, size, len);
	if (copy_to_user(to, line, ret))
		ret = -EFAULT;
	sensor_exit(idx);
	return ret;
}

static ssize_t sensor_write(struct file *file, const char __user *from, size_t size, loff_t *pos)
{
	struct sensor *sensor = file->private_data;
	struct sensor_config *new, *old;
	unsigned int period;
	ssize_t ret;
	int idx;

	if (!sensor_enter(sensor, &idx))
		return -ENODEV;
	ret = kstrtouint_from_user(from, size, 10, &period);
	if (ret)
		goto out;
	new = kmalloc_obj(*new);
	if (!new) {
		ret = -ENOMEM;
		goto out;
	}
	new->period_ns = max(period, 50u) * (u64)NSEC_PER_USEC;
	mutex_lock(&sensor->config_lock);
	old = rcu_replace_pointer(sensor->config, new, lockdep_is_held(&sensor->config_lock));
	mutex_unlock(&sensor->config_lock);
	kfree_rcu(old, rcu);
	ret = size;
out:
	sensor_exit(idx);
	return ret;
}

static long sensor_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct sensor *sensor = file->private_data;
	struct sensor_stats stats;
	unsigned int seq;
	long ret = 0;
	int idx;

	if (!sensor_enter(sensor, &idx))
		return -ENODEV;
	if (cmd != SENSOR_STATS) {
		ret = -ENOTTY;
		goto out;
	}
	do {
		seq = read_seqcount_begin(&sensor->seq);
		stats = sensor->stats;
	} while (read_seqcount_retry(&sensor->seq, seq));
	if (copy_to_user((void __user *)arg, &stats, sizeof(stats)))
		ret = -EFAULT;
out:
	sensor_exit(idx);
	return ret;
}

static const struct file_operations sensor_fops = {
	.owner = THIS_MODULE,
	.open = sensor_open,
	.release = sensor_release,
	.read = sensor_read,
	.write = sensor_write,
	.unlocked_ioctl = sensor_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static DEFINE_MUTEX(port_lock);
static struct sensor *port;

static int sensor_plug(void)
{
	struct sensor *sensor;
	struct sensor_config *config;
	int ret;

	if (port)
		return -EBUSY;
	sensor = kzalloc_obj(*sensor);
	config = kmalloc_obj(*config);
	if (!sensor || !config) {
		kfree(config);
		kfree(sensor);
		return -ENOMEM;
	}
	config->period_ns = NSEC_PER_MSEC;
	RCU_INIT_POINTER(sensor->config, config);
	kref_init(&sensor->ref);
	raw_spin_lock_init(&sensor->lock);
	seqcount_raw_spinlock_init(&sensor->seq, &sensor->lock);
	mutex_init(&sensor->config_lock);
	hrtimer_setup(&sensor->timer, sensor_sample, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	sensor->misc.minor = MISC_DYNAMIC_MINOR;
	sensor->misc.name = "sensor";
	sensor->misc.fops = &sensor_fops;
	hrtimer_start(&sensor->timer, ns_to_ktime(config->period_ns), HRTIMER_MODE_REL_HARD);
	ret = misc_register(&sensor->misc);
	if (ret) {
		hrtimer_cancel(&sensor->timer);
		kref_put(&sensor->ref, sensor_free);
		return ret;
	}
	port = sensor;
	return 0;
}

static int sensor_unplug(void)
{
	struct sensor *sensor = port;

	if (!sensor)
		return -ENODEV;
	port = NULL;
	misc_deregister(&sensor->misc);
	WRITE_ONCE(sensor->unplugged, true);
	/* No system call uses the sensor after this, and none will. */
	synchronize_srcu(&sensor_srcu);
	hrtimer_cancel(&sensor->timer);
	kref_put(&sensor->ref, sensor_free);
	return 0;
}

static ssize_t bus_write(struct file *file, const char __user *from, size_t size, loff_t *pos)
{
	char command[8] = "";
	ssize_t ret;

	if (size >= sizeof(command))
		return -EINVAL;
	if (copy_from_user(command, from, size))
		return -EFAULT;
	mutex_lock(&port_lock);
	if (sysfs_streq(command, "plug"))
		ret = sensor_plug();
	else if (sysfs_streq(command, "unplug"))
		ret = sensor_unplug();
	else
		ret = -EINVAL;
	mutex_unlock(&port_lock);
	return ret ?: size;
}

static const struct file_operations bus_fops = {
	.owner = THIS_MODULE,
	.write = bus_write,
};

static struct miscdevice bus = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "sensor_bus",
	.fops = &bus_fops,
};

static int __init c_sensor_init(void)
{
	return misc_register(&bus);
}

static void __exit c_sensor_exit(void)
{
	misc_deregister(&bus);
	sensor_unplug();
}

module_init(c_sensor_init);
module_exit(c_sensor_exit);
MODULE_DESCRIPTION("The driver of a sensor that can be unplugged while it is in use, in C");
MODULE_AUTHOR("The quiesce developers");
MODULE_LICENSE("GPL");
