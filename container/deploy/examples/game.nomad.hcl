# SPDX-License-Identifier: Apache-2.0
#
# Nomad. The client's configuration names the directory that the host mounts images in (systemd/fstab):
#
#   client {
#     host_volume "assets" {
#       path      = "/var/lib/assetfs-mounts"
#       read_only = true
#     }
#   }
job "game" {
  type = "service"

  group "servers" {
    count = 10

    volume "assets" {
      type      = "host"
      source    = "assets"
      read_only = true
    }

    task "server" {
      driver = "docker"

      config {
        image           = "registry.example.com/game/server:1.4.2"
        args            = ["--assets=/assets/game"]
        readonly_rootfs = true
      }

      volume_mount {
        volume           = "assets"
        destination      = "/assets"
        read_only        = true
        propagation_mode = "host-to-task"
      }

      resources {
        cpu    = 500
        memory = 256
      }
    }
  }
}
