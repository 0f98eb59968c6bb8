"""The systems we write files for, each read from its own loader (repository: files, commits).

The commands are those of the systems' documentation, with the flags that select our files. A slot
of 1,024 numbers (made for HuBERT) is taken where there is one: all 512 of ours fit in it.
docs/drop-in.md says more.
"""

from __future__ import annotations

from se4lip.dropin.layouts import Layout
from se4lip.dropin.profiles import Profile

_HUBERT = Layout("_hu.npy", "pair", 1024)

_SYSTEMS = (
    Profile(
        name="rad-nerf",
        title="RAD-NeRF",
        loader="ashawkey/RAD-NeRF: nerf/provider.py (4cb8fc6), nerf/network.py",
        layouts=(Layout(".npy", "window", 32),),
        train=("python main.py data/<ID> --workspace trial_<ID> -O --asr_model se4lip",),
        drive=(
            "python main.py data/<ID> --workspace trial_<ID> -O --asr_model se4lip"
            " --test --test_train --aud <stem>.npy",
        ),
        caveat=(
            "--asr_model takes any word without esperanto and deepspeech in it, and must be the"
            " same in every command. 64 of 512 numbers a frame pass. --asr (live) runs its own"
            " wav2vec."
        ),
    ),
    Profile(
        name="er-nerf",
        title="ER-NeRF",
        loader="Fictionarry/ER-NeRF: nerf_triplane/provider.py (068d0aa), nerf_triplane/network.py",
        layouts=(_HUBERT,),
        train=("python main.py data/<ID> --workspace trial_<ID> -O --asr_model hubert",),
        drive=(
            "python main.py data/<ID> --workspace trial_<ID> -O --asr_model hubert"
            " --test --test_train --aud <stem>_hu.npy",
        ),
        caveat=(
            "Add --asr_model hubert to every command, finetuning and torso too. Published"
            " checkpoints were trained on other features and do not fit."
        ),
    ),
    Profile(
        name="synctalk",
        title="SyncTalk",
        loader=(
            "ZiqiaoPeng/SyncTalk: nerf_triplane/provider.py (52534e3, 01eb9a3),"
            " nerf_triplane/network.py"
        ),
        layouts=(_HUBERT,),
        train=("python main.py data/<ID> --workspace model/trial_<ID> -O --asr_model hubert",),
        drive=(
            "python main.py data/<ID> --workspace model/trial_<ID> -O --asr_model hubert"
            " --test --test_train --portrait --aud <stem>_hu.npy",
        ),
        caveat=(
            "Versions that make the feature file's name themselves (01eb9a3) want --aud"
            " <stem>.wav, in a path without any other dot, not even ./ at its beginning."
            " --asr_model ave reads no feature file; published checkpoints were trained with it"
            " and do not fit."
        ),
    ),
    Profile(
        name="talkinggaussian",
        title="TalkingGaussian",
        loader=(
            "Fictionarry/TalkingGaussian: scene/dataset_readers.py (453f218), scene/motion_net.py,"
            " utils/audio_utils.py"
        ),
        layouts=(_HUBERT,),
        train=("bash scripts/train_xx_hu.sh data/<ID> output/<ID>",),
        drive=(
            "python synthesize_fuse.py -S data/<ID> -M output/<ID> --use_train"
            " --audio_extractor hubert --audio <stem>_hu.npy",
        ),
        caveat=(
            "train_xx_hu.sh passes --audio_extractor hubert to every stage; any name but the three"
            " it knows fails. Driving stops with the sound or with the frames, whichever ends"
            " first."
        ),
    ),
    Profile(
        name="instag",
        title="InsTaG",
        loader=(
            "Fictionarry/InsTaG: README.md; scene/dataset_readers.py in copies"
            " (Foxhead-Studio/InsTaG 163310b, LiCan-monster/CV-InsTaG d4a1f11)"
        ),
        layouts=(_HUBERT,),
        train=(
            "# audio_extractor='hubert' in scripts/pretrain_con.sh and scripts/train_xx_few.sh",
            "bash scripts/pretrain_con.sh data/pretrain output/<project> 0",
            "bash scripts/train_xx_few.sh data/<ID> output/<ID> 0",
        ),
        drive=(
            "python synthesize_fuse.py -S data/<ID> -M output/<ID> --dilate --use_train"
            " --audio_extractor hubert --audio <stem>_hu.npy",
        ),
        caveat=(
            "Pre-training must be done again on these files: the published weights know other"
            " features. Its authors find 1,024 numbers too many below 10 s of video. aud_ave.npy,"
            " 512 wide, is not written: driving with new sound would compute SyncTalk's features"
            " instead."
        ),
    ),
    Profile(
        name="gaussiantalker",
        title="GaussianTalker",
        loader=(
            "cvlab-kaist/GaussianTalker: scene/talking_dataset_readers.py (936c19e),"
            " scene/networks.py, scene/utils.py, render.py"
        ),
        layouts=(Layout("_ds.npy", "window", 29),),
        train=(
            "python train.py -s data/<ID> --model_path output/<ID>"
            " --configs arguments/64_dim_1_transformer.py",
        ),
        drive=(
            "python render.py -s data/<ID> --model_path output/<ID>"
            " --configs arguments/64_dim_1_transformer.py --batch 16 --skip_train --skip_test"
            " --custom_aud <stem>_ds.npy --custom_wav <stem>.wav",
        ),
        caveat=(
            "No flag chooses features: the file takes DeepSpeech's name. 58 of 512 numbers a frame"
            " pass. Both driving files lie in data/<ID>; driving stops with the training frames."
        ),
    ),
    Profile(
        name="ad-nerf",
        title="AD-NeRF",
        loader=(
            "YudongGuo/AD-NeRF: NeRFs/HeadNeRF/load_audface.py (51a601a),"
            " NeRFs/HeadNeRF/run_nerf_helpers.py, NeRFs/TorsoNeRF/load_audface.py,"
            " NeRFs/TorsoNeRF/run_nerf.py"
        ),
        layouts=(Layout(".npy", "window", 29),),
        train=(
            "python NeRFs/HeadNeRF/run_nerf.py --config dataset/<ID>/HeadNeRF_config.txt",
            "python NeRFs/TorsoNeRF/run_nerf.py --config dataset/<ID>/TorsoNeRF_config.txt",
        ),
        drive=(
            "python NeRFs/TorsoNeRF/run_nerf.py --config dataset/<ID>/TorsoNeRFTest_config.txt"
            " --aud_file <stem>.npy --test_size -1",
        ),
        caveat=(
            "No flag chooses features: the file takes DeepSpeech's name. 58 of 512 numbers a frame"
            " pass. The option is --aud_file, not --audfile as its README has it."
        ),
    ),
    Profile(
        name="geneface",
        title="GeneFace",
        loader=(
            "yerfor/GeneFace: data_gen/nerf/binarizer.py (009ca0a), tasks/nerfs/dataset_utils.py,"
            " tasks/radnerfs/dataset_utils.py, tasks/postnet/dataset_utils.py,"
            " inference/nerfs/adnerf_infer.py"
        ),
        layouts=(
            Layout("_deepspeech.npy", "window", 29),
            Layout("_esperanto.npy", "window", 44),
            Layout("_hubert.npy", "half_frame", 1024),
        ),
        train=(
            "python data_gen/nerf/binarizer.py --config=egs/datasets/videos/<ID>/adnerf.yaml",
            "python tasks/run.py --config=egs/datasets/videos/<ID>/adnerf.yaml"
            " --exp_name=<ID>/adnerf",
        ),
        drive=(
            "python inference/nerfs/adnerf_infer.py --exp_name=<ID>/adnerf_torso --reset"
            " --config=checkpoints/<ID>/adnerf_torso/config.yaml --hparams="
            "infer_audio_source_name=<stem>.wav,infer_cond_name=<stem>_deepspeech.npy",
        ),
        caveat=(
            "Only the renderers that hear work at once: adnerf (reads _deepspeech, 58 of 512"
            " numbers a frame) and radnerf (radnerf.yaml; reads _esperanto, 88 of 512; no script"
            " drives it with new sound). The landmark renderers, lm3d_*, follow audio2motion and"
            " postnet, which must both be retrained on _hubert; until then they need GeneFace's"
            " own aud_hubert.npy."
        ),
    ),
    Profile(
        name="genefaceplusplus",
        title="GeneFace++",
        loader=(
            "yerfor/GeneFacePlusPlus: data_gen/runs/binarizer_nerf.py (947a33a),"
            " inference/genefacepp_infer.py"
        ),
        layouts=(Layout("_hubert.npy", "half_frame", 1024),),
        frames_from="gt_imgs",
        train=("python data_gen/runs/binarizer_nerf.py --video_id=<ID>",),
        drive=(
            "# in inference/genefacepp_infer.py, get_hubert: hubert = np.load('<stem>_hubert.npy')",
            "python inference/genefacepp_infer.py --a2m_ckpt=<retrained> --head_ckpt="
            " --torso_ckpt=<yours> --drv_aud=<stem>.wav",
        ),
        caveat=(
            "The file loads, but nothing speaks with it until audio2motion and postnet are"
            " retrained on such files: the renderer itself sees landmarks only. Inference computes"
            " HuBERT from the wav, hence the edit."
        ),
    ),
    Profile(
        name="mimictalk",
        title="MimicTalk",
        loader=(
            "yerfor/MimicTalk: inference/train_mimictalk_on_a_video.py,"
            " inference/mimictalk_infer.py (9dbac4e), inference/real3d_infer.py; its"
            " data_gen/runs/binarizer_nerf.py is GeneFace++'s"
        ),
        layouts=(Layout("_hubert.npy", "half_frame", 1024),),
        frames_from="gt_imgs",
        train=("python data_gen/runs/binarizer_nerf.py --video_id=<ID>",),
        drive=(
            "# in inference/real3d_infer.py, get_hubert: hubert = np.load('<stem>_hubert.npy')",
            "python inference/mimictalk_infer.py --a2m_ckpt <retrained> --drv_aud <stem>.wav ...",
        ),
        caveat=(
            "As for GeneFace++: audio2motion must be retrained on such files first. Adapting the"
            " renderer to a person reads no sound at all."
        ),
    ),
    Profile(
        name="synctalk-2d",
        title="SyncTalk_2D",
        loader=(
            "ZiqiaoPeng/SyncTalk_2D: syncnet_328.py, datasetsss_328.py, inference_328.py in copies"
            " (ILG2021/SyncTalk_2D 30dda11, Dk0071942/SyncTalk_2D)"
        ),
        layouts=(Layout("_ave.npy", "frame", 512),),
        rows_read=16,
        frames_from="full_body_img",
        exact=True,
        train=(
            "python syncnet_328.py --save_dir syncnet_ckpt/<ID> --dataset_dir dataset/<ID> --asr"
            " ave",
            "python train_328.py --dataset_dir dataset/<ID> --save_dir checkpoint/<ID> --asr ave"
            " --use_syncnet --syncnet_checkpoint syncnet_ckpt/<ID>/<best>.pth",
        ),
        drive=(
            "# in inference_328.py, below audio_feats: audio_feats = np.load('<stem>_ave.npy')",
            "python inference_328.py --name <ID> --asr ave --audio_path <stem>.wav",
        ),
        caveat=(
            "Inference computes its own features from the wav whatever --asr says, hence the edit;"
            " without it a model trained on these files is fed others. Its preprocessing writes the"
            " same name: do not run it again afterwards."
        ),
    ),
    Profile(
        name="ultralight",
        title="Ultralight-Digital-Human",
        loader=(
            "anliyuan/Ultralight-Digital-Human: datasetsss.py (aff08d2, 156eef1, 080bce6),"
            " inference.py (c34b99d, 02a9877, 080bce6), syncnet.py, data_utils/process.py"
        ),
        layouts=(_HUBERT, Layout("_wenet.npy", "chunk", 512)),
        rows_read=16,
        frames_from="full_body_img",
        exact=True,
        train=(
            "python syncnet.py --save_dir syncnet_ckpt --dataset_dir <folder> --asr hubert",
            "python train.py --dataset_dir <folder> --save_dir checkpoint --asr hubert"
            " --use_syncnet --syncnet_checkpoint syncnet_ckpt/<best>.pth",
        ),
        drive=(
            "python inference.py --asr hubert --dataset <folder> --audio_feat <stem>_hu.npy"
            " --save_path out.mp4 --checkpoint checkpoint/<last>.pth",
        ),
        caveat=(
            "For a video of 20 fps, --asr wenet and <stem>_wenet.npy; in a data set only the file"
            " of its frame rate is written. Train and drive with one version: older ones (aff08d2,"
            " c34b99d) read 16 rows, later ones (156eef1, 080bce6) 8, and no checkpoint fits both."
            " Its inference.py must have --audio_feat: one with --wav instead (02a9877) computes"
            " HuBERT again over <stem>_hu.npy. In 080bce6 datasetsss.py fails on any features"
            " (`self.audio_feats[0]<len`): write `self.audio_feats.shape[0]<len` there."
        ),
    ),
)

PROFILES: dict[str, Profile] = {profile.name: profile for profile in _SYSTEMS}
