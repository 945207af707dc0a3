/* Gives a file the capability cap_net_raw+ep. */
#include <linux/capability.h>
#include <stdio.h>
#include <sys/xattr.h>

int main(int count, char **arguments) {
    struct vfs_cap_data caps = {.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE};
    caps.data[0].permitted = 1u << CAP_NET_RAW;
    if (count != 2 || setxattr(arguments[1], "security.capability", &caps, sizeof caps, 0) != 0) {
        perror("setcap1");
        return 1;
    }
    return 0;
}
