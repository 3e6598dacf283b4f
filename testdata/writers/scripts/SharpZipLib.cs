using System;
using System.IO;
using ICSharpCode.SharpZipLib.Checksums;
using ICSharpCode.SharpZipLib.Zip;

/// <summary>SharpZipLib, as Mono has it.</summary>
static class SharpZipLib
{
    static void Main(string[] args)
    {
        string mode = args[0];
        bool stored = mode.StartsWith("stored");
        ZipConstants.DefaultCodePage = 65001; // UTF-8
        using (var zip = new ZipOutputStream(mode.EndsWith("pipe") ? Console.OpenStandardOutput() : File.Create(args[1])))
        {
            for (int i = 2; i < args.Length; i++)
            {
                byte[] data = args[i].EndsWith("/") ? new byte[0] : File.ReadAllBytes(args[i]);
                var entry = new ZipEntry(args[i]);
                if (stored)
                {
                    var crc = new Crc32();
                    crc.Update(data);
                    entry.CompressionMethod = CompressionMethod.Stored;
                    entry.Size = data.Length;
                    entry.Crc = crc.Value;
                }
                zip.PutNextEntry(entry);
                zip.Write(data, 0, data.Length);
                zip.CloseEntry();
            }
        }
    }
}
